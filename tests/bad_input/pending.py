PENDING: dict[str, str] = {}
