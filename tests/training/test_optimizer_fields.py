"""Every field of every optimizer of the CPU moves the parameters as its formula says, in NumPy.

The attack: fields that the library drops without a word (`weight_decay` of rowwise_adagrad_optimizer on a
CPU), or that mean something else here than there (`dampening`, in the first step of all). What a CPU does
not have is refused; see tests/config/test_supported.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from torchrec.optim.keyed import KeyedOptimizerWrapper

from tests.small import make_small
from tests.training.test_accumulation import parameters
from tzrec.config import prepare
from tzrec.config.supported import BUILT, SPARSE_ON_CUDA_ONLY
from tzrec.datasets.build import build_loader
from tzrec.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.optimizer import build_dense, make_state

# Of three steps, for three parameters; they grow, shrink and change sign, and one is 0.
GRADIENTS = np.array([[1.0, -2.0, 0.0], [0.5, 3.0, 0.25], [-0.25, 0.1, 4.0]])
START = np.array([2.0, -1.0, 0.5])
# (parameters, gradients, state by name, step from 1 on, fields) -> parameters
Formula = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray], int, Any], np.ndarray]


def sgd(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    d = g + o.weight_decay * x
    if o.momentum:
        s["m"] = d if t == 1 else o.momentum * s["m"] + (1 - o.dampening) * d
        d = d + o.momentum * s["m"] if o.nesterov else s["m"]
    return x - o.lr * d


def adagrad(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    d = g + o.weight_decay * x
    s["v"] = s.get("v", o.initial_accumulator_value) + d**2
    return x - o.lr * d / (np.sqrt(s["v"]) + o.eps)


def adam(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    s["m"] = o.beta1 * s.get("m", 0) + (1 - o.beta1) * g
    s["v"] = o.beta2 * s.get("v", 0) + (1 - o.beta2) * g**2
    s["largest"] = np.maximum(s.get("largest", 0), s["v"])
    v = s["largest"] if o.amsgrad else s["v"]
    return x - o.lr * s["m"] / (1 - o.beta1**t) / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)


def adam_with_l2(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    return adam(x, g + o.weight_decay * x, s, t, o)


def adamw(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    return adam(x * (1 - o.lr * o.weight_decay), g, s, t, o)


def adadelta(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    d = g + o.weight_decay * x
    s["v"] = o.rho * s.get("v", 0) + (1 - o.rho) * d**2
    step = np.sqrt(s.get("a", 0) + o.eps) / np.sqrt(s["v"] + o.eps) * d
    s["a"] = o.rho * s.get("a", 0) + (1 - o.rho) * step**2
    return x - o.lr * step


def rmsprop(x: np.ndarray, g: np.ndarray, s: dict[str, np.ndarray], t: int, o: Any) -> np.ndarray:
    d = g + o.weight_decay * x
    s["v"] = o.alpha * s.get("v", 0) + (1 - o.alpha) * d**2
    return x - o.lr * d / (np.sqrt(s["v"]) + o.eps)


DENSE: list[tuple[str, Formula]] = [
    ("sgd_optimizer { lr: 0.1 momentum: 0 weight_decay: 0.3 }", sgd),
    ("sgd_optimizer { lr: 0.1 momentum: 0.8 weight_decay: 0.3 dampening: 0.4 }", sgd),
    ("sgd_optimizer { lr: 0.1 momentum: 0 dampening: 0.4 }", sgd),
    ("sgd_optimizer { lr: 0.1 momentum: 0.8 nesterov: true fused: true }", sgd),
    ("sgd_optimizer { lr: 0.1 momentum: 0.8 dampening: 0.4 fused: true }", sgd),
    ("adagrad_optimizer { lr: 0.1 weight_decay: 0.3 initial_accumulator_value: 0.5 eps: 0.2 }", adagrad),
    ("adagrad_optimizer { lr: 0.1 weight_decay: 0.3 eps: 0.2 fused: true }", adagrad),
    ("adam_optimizer { lr: 0.1 beta1: 0.7 beta2: 0.8 weight_decay: 0.3 eps: 0.2 }", adam_with_l2),
    ("adam_optimizer { lr: 0.1 beta1: 0.7 beta2: 0.5 eps: 0.2 amsgrad: true }", adam_with_l2),
    ("adam_optimizer { lr: 0.1 beta2: 0.5 weight_decay: 0.3 amsgrad: true fused: true }", adam_with_l2),
    ("adamw_optimizer { lr: 0.1 beta1: 0.7 beta2: 0.8 weight_decay: 0.3 eps: 0.2 }", adamw),
    ("adamw_optimizer { lr: 0.1 beta1: 0.7 beta2: 0.5 eps: 0.2 amsgrad: true fused: true }", adamw),
    ("adadelta_optimizer { lr: 0.5 rho: 0.7 eps: 0.2 weight_decay: 0.3 }", adadelta),
    ("rmsprop_optimizer { lr: 0.1 alpha: 0.7 eps: 0.2 weight_decay: 0.3 }", rmsprop),
]


@pytest.mark.parametrize(("text", "formula"), DENSE)
def test_dense_fields(text: str, formula: Formula) -> None:
    """Made beforehand, as training makes it, and loaded in the midst, as a run that goes on does."""
    config = text_format.Parse(text, DenseOptimizer())
    options = getattr(config, config.WhichOneof("optimizer"))

    def make() -> tuple[torch.nn.Parameter, KeyedOptimizerWrapper]:
        parameter = torch.nn.Parameter(torch.tensor(START, dtype=torch.float32))
        optimizer = KeyedOptimizerWrapper({"x": parameter}, build_dense(config))
        make_state(optimizer)
        return parameter, optimizer

    parameter, optimizer = make()
    expected, state = START, dict[str, np.ndarray]()
    for t, gradient in enumerate(GRADIENTS, 1):
        if t == 3:
            before, (parameter, again) = (parameter, optimizer), make()
            with torch.no_grad():
                parameter.copy_(before[0])
            again.load_state_dict(before[1].state_dict())
            optimizer = again
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        expected = formula(expected, gradient, state, t, options)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=2e-5, atol=2e-6)


def test_every_dense_field_is_tested() -> None:
    """Each is set to something other than its default, in some case above."""
    texts = [text_format.Parse(text, DenseOptimizer()) for text, _ in DENSE]
    for field in DenseOptimizer.DESCRIPTOR.oneofs_by_name["optimizer"].fields:
        cases = [getattr(text, field.name) for text in texts if text.WhichOneof("optimizer") == field.name]
        for inner in field.message_type.fields:
            values = {getattr(case, inner.name) for case in cases}
            assert values - {inner.default_value}, f"{field.name}.{inner.name}"


@pytest.mark.parametrize("fused", ["false", "true"])
def test_dampened_steps_are_those_of_torch(fused: str) -> None:
    """Its first step has the whole gradient, as torch's; the state that is made beforehand hid that."""
    text = f"sgd_optimizer {{ lr: 0.1 momentum: 0.9 dampening: 0.5 weight_decay: 0.1 fused: {fused} }}"
    make = build_dense(text_format.Parse(text, DenseOptimizer()))
    ours, theirs = (torch.nn.Parameter(torch.tensor(START)) for _ in range(2))
    optimizer = KeyedOptimizerWrapper({"x": ours}, make)
    make_state(optimizer)
    plain = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1)
    plain.param_groups[0].update({key: optimizer.param_groups[0][key] for key in ("lr", "momentum")})
    plain.param_groups[0]["weight_decay"] = optimizer.param_groups[0]["weight_decay"]
    for gradient in [*GRADIENTS, *GRADIENTS]:
        for parameter, one in ((ours, optimizer), (theirs, plain)):
            parameter.grad = torch.tensor(gradient)
            one.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator:
    yield prepare(str(make_small(tmp_path / "small", rows=300).config)).message
    leave_group()


SPARSE = [
    "sgd_optimizer { lr: 0.1 }",
    "sgd_optimizer { lr: 0.1 gradient_clipping: true max_gradient: 0.6 }",
    "adagrad_optimizer { lr: 0.1 }",
    "adagrad_optimizer { lr: 0.1 gradient_clipping: true max_gradient: 0.6 initial_accumulator_value: 0.5 }",
    "rowwise_adagrad_optimizer { lr: 0.1 }",
    "rowwise_adagrad_optimizer { lr: 0.1 gradient_clipping: true max_gradient: 0.6 }",
]


@pytest.mark.parametrize("text", SPARSE)
def test_sparse_fields(pipeline, text: str) -> None:
    """Users that a batch has several times: clipped are the gradients of each, then they are summed."""
    pipeline.train_config.sparse_optimizer.CopyFrom(text_format.Parse(text, SparseOptimizer()))
    kind = pipeline.train_config.sparse_optimizer.WhichOneof("optimizer")
    options = getattr(pipeline.train_config.sparse_optimizer, kind)
    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
    [name] = [name for name in parameters(session) if "table_user_id" in name]
    expected = parameters(session)[name].double().numpy()
    sums = np.zeros_like(expected) if kind == "adagrad_optimizer" else np.zeros((len(expected), 1))
    sums += getattr(options, "initial_accumulator_value", 0.0)
    for step, batch in enumerate(loader.batches(stop=2)):
        session.optimizers.begin(step, 0)
        outputs = session.model.module.embeddings.look_up([batch])[0]
        generator = torch.Generator().manual_seed(step)
        given = torch.randn(outputs["user_id"].shape, generator=generator)
        gradients = [given if one == "user_id" else torch.zeros_like(outputs[one]) for one in outputs]
        torch.autograd.backward(list(outputs.values()), gradients)

        of_row = given.double().numpy()
        if options.gradient_clipping:
            of_row = of_row.clip(-options.max_gradient, options.max_gradient)
        gradient = np.zeros_like(expected)
        users = batch.ids["user"].values.numpy()
        assert len(np.unique(users)) < len(users) == batch.rows
        np.add.at(gradient, users, of_row)
        move = gradient
        if kind == "adagrad_optimizer":
            sums += gradient**2
        elif kind == "rowwise_adagrad_optimizer":
            sums += (gradient**2).mean(axis=1, keepdims=True)
        if kind != "sgd_optimizer":
            move = gradient / (np.sqrt(sums) + 1e-8)
        expected = expected - options.lr * move
        np.testing.assert_allclose(parameters(session)[name].numpy(), expected, rtol=2e-5, atol=2e-6)


def test_every_sparse_field_of_the_cpu_is_tested() -> None:
    """Each is set to something other than its default above, or stands for CUDA only."""
    texts = [text_format.Parse(text, SparseOptimizer()) for text in SPARSE]
    for field in SparseOptimizer.DESCRIPTOR.oneofs_by_name["optimizer"].fields:
        cases = [getattr(text, field.name) for text in texts if text.WhichOneof("optimizer") == field.name]
        if field.name not in BUILT["SparseOptimizer"] or field.name in SPARSE_ON_CUDA_ONLY:
            assert not cases
            continue
        for inner in field.message_type.fields:
            values = {getattr(case, inner.name) for case in cases}
            # test_supported.py tests that these two are refused.
            if inner.name not in ("weight_decay", "weight_decay_mode"):
                assert values - {inner.default_value}, f"{field.name}.{inner.name}"
