"""Reads the pickles of a checkpoint: plain values, and stand-ins for the classes that are named.

Python's own unpickler calls what a file names, which is why files name only what is listed here. A
file can do harm without that, too: nine bytes make the unpickler in C fill gigabytes (an index
beyond its memo), nested tuples as keys of a dictionary are hashed for ever or until the stack is
used up. So this is the one that is written in Python, with those instructions alone that a checkpoint
is made of, and only texts and stand-ins are keys. One or two seconds for 2 MB.
"""

import io
import pickle
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

# Arguments of a call that are kept. More have only paths, one for each folder, which nobody asks for.
MOST = 16

# What pickle writes for dictionaries, lists, tuples, texts, integers and instances of classes.
INSTRUCTIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET"),
    *("LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
    *("STRING", "SHORT_BINUNICODE", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"),
)


class RefusedError(Exception):
    """The file names something that a checkpoint has no use for."""


class StandIn:
    """Stands for an instance of a class: keeps what the file gives it, and does nothing."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


# Typeshed knows the one in C alone.
_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class PlainUnpickler(_Unpickler):  # type: ignore[misc]
    """An unpickler that runs no code of a file's choice and needs no more than the file's size.

    Args:
        content: the pickle.
        classes: (module, name) of what is read as a `StandIn`.
        values: what else may be named.
    """

    def __init__(
        self,
        content: bytes,
        classes: Collection[tuple[str, str]],
        values: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        super().__init__(io.BytesIO(content))
        # Of this reading alone: nothing that a file does to them outlives it.
        self._known = {key: type(key[1], (StandIn,), {}) for key in classes} | dict(values or {})

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise RefusedError(ascii(f"{module}.{name}"[:100])[1:-1]) from None

    def persistent_load(self, pid: Any) -> Any:
        """A storage of a tensor: what it is to be, without the numbers."""
        return pid

    def _check_keys(self, keys: list[Any]) -> None:
        if not all(type(key) is str or isinstance(key, StandIn) for key in keys):
            raise pickle.UnpicklingError("a key that is neither text nor an instance")

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_reduce(self) -> None:
        self._make()

    def load_newobj(self) -> None:
        self._make()

    def load_inst(self) -> None:
        """An instruction of old, which calls as well: what it names is told, and it is not followed."""
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.find_class(module, name)
        raise pickle.UnpicklingError("an instruction that pickle does not write any more")

    def _make(self) -> None:
        """An instance. Stand-ins alone may be called: what else is known are constants."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if not (isinstance(called, type) and issubclass(called, StandIn) and type(arguments) is tuple):
            raise pickle.UnpicklingError("a call of what is no class")
        # Every call copies them: one long tuple for a million calls would be a bomb.
        self.stack.append(called(*arguments) if len(arguments) <= MOST else called())

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], StandIn):
            raise pickle.UnpicklingError("a state for what is no instance")
        super().load_build()

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code[0]: _Unpickler.dispatch[code[0]] for code in (getattr(pickle, name) for name in INSTRUCTIONS)
    }
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.INST[0]] = load_inst
    dispatch[pickle.BUILD[0]] = load_build
