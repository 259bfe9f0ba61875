"""Change one small thing in a module of recipe/ at a time, and see whether the module's tests fail.

The changes are mutmut's (a + b to a - b, < to <=, n to n + 1, an argument to None or dropped, a value to None ...).
Its runner leaves out decorated functions, constants and properties, which is most of recipe/, so this one rewrites
the whole file: in a copy of the tree that is found before the installed package. verl and torch are imported once;
each mutant is a fork of that process. Texts of several words (messages, reasons) are left as they are.
"""

import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.file_mutation import ChildReplacementTransformer, MutationVisitor
from mutmut.node_mutation import mutation_operators

ROOT = Path(__file__).parent.parent
TESTS = {
    "weights": ("test_weight_knobs", "test_weights"),
    "composition": ("test_composition_rows",),
    "token_ledger": ("test_token_ledger",),
    "sharpness": ("test_sharpness",),
    "gradient_norms": ("test_gradient_norms",),
    "policy_loss": ("test_policy_loss", "test_closed_forms", "test_ratio_placement", "test_extremes"),
}
QUICK = ("-x", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception")
"""Without what makes pytest's start and end slow: nobody reads how a mutant fails."""
SECONDS = 60
"""For one mutant; one that takes longer (an endless loop) counts as noticed."""
WANTED = 0.95


@dataclass(frozen=True)
class Mutant:
    line: int
    before: str
    after: str
    code: str


class Visitor(MutationVisitor):
    """mutmut's, without its exceptions for what its runner cannot run."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom)


def is_prose(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and (" " in node.raw_value or node.quote.startswith('"""'))


def spelled(code: str) -> str:
    """One spelling of changes that are the same: zip's strict as False, as None, and left out."""
    return re.sub(r", (strict=(None|False))?\)", ")", code)


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module that compiles and differs."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = Visitor(mutation_operators, ignore_lines=set())
    wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    seen = {spelled(source)}
    for mutation in visitor.mutations:
        if is_prose(mutation.original_node):
            continue
        code = wrapper.module.visit(ChildReplacementTransformer(mutation.original_node, mutation.mutated_node)).code
        if spelled(code) in seen:
            continue
        seen.add(spelled(code))
        try:
            compile(code, "mutant", "exec")
        except SyntaxError:
            continue
        line = positions[mutation.original_node].start.line if mutation.original_node in positions else 0
        lines = itertools.zip_longest(source.splitlines(), code.splitlines(), fillvalue="")
        before, after = next(((old, new) for old, new in lines if old != new), ("", ""))
        yield Mutant(line, before.strip(), after.strip(), code)


def noticed(module: str) -> bool:
    """Whether the module's tests fail, in a fork, on what now stands in the copy."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            os.dup2(devnull, 2)
            files = [str(ROOT / "tests/unit/recipe" / f"{name}.py") for name in TESTS[module]]
            status = int(pytest.main([*QUICK, *files]))
        finally:
            os._exit(status)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return status != 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return True


def write(target: Path, code: str) -> None:
    target.write_text(code)
    # Byte code is told apart by second and size, which two mutants may share.
    shutil.rmtree(target.parent / "__pycache__", ignore_errors=True)


def check(module: str, target: Path) -> tuple[int, list[Mutant]]:
    """Number of mutants of a module, and those that no test noticed."""
    source = target.read_text()
    started, found = time.monotonic(), list(mutants(source))
    if noticed(module):
        sys.exit(f"{module}: its tests fail on the code as it is")
    write(target, "raise RuntimeError('is this the file that is imported?')\n")
    if not noticed(module):
        sys.exit(f"{module}: a module that cannot be imported goes unnoticed: the tests import another file")
    survivors = []
    for mutant in found:
        write(target, mutant.code)
        if not noticed(module):
            survivors.append(mutant)
            print(f"  {module}.py:{mutant.line}\n    - {mutant.before}\n    + {mutant.after}", flush=True)
    write(target, source)
    killed = len(found) - len(survivors)
    print(f"{module}: {killed} of {len(found)} noticed, {time.monotonic() - started:.0f} s", flush=True)
    return len(found), survivors


def main(chosen: list[str]) -> None:
    unknown = set(chosen) - TESTS.keys()
    if unknown:
        sys.exit(f"no such module: {', '.join(sorted(unknown))}; choose from: {', '.join(TESTS)}")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "tr_grpo"
        package.mkdir()
        shutil.copytree(ROOT / "recipe", package / "recipe", ignore=shutil.ignore_patterns("__pycache__"))
        sys.path.insert(0, folder)
        os.chdir(folder)
        results = [check(module, package / "recipe" / f"{module}.py") for module in chosen or TESTS]
    total, alive = sum(count for count, _ in results), sum(len(survivors) for _, survivors in results)
    print(f"all: {total - alive} of {total} noticed, {1 - alive / total:.1%}")
    sys.exit(1 - alive / total < WANTED)


if __name__ == "__main__":
    # Before the first fork, so that no mutant has to: seconds each. Nothing of tr_grpo may be among them.
    import gc

    import pytest
    import torch
    from hypothesis import HealthCheck, Phase, settings

    if not sys.argv[1:] or "policy_loss" in sys.argv:
        import verl.trainer.ppo.core_algos
        import verl.workers.config  # noqa: F401
    gc.disable()
    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Found is enough: shrinking an example takes longer than all else.
    phases = (Phase.explicit, Phase.generate)
    quick = settings(deadline=None, derandomize=True, database=None, phases=phases)
    settings.register_profile("mutation", quick, suppress_health_check=[HealthCheck.too_slow])
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"  # tests/unit/conftest.py loads it
    assert not [name for name in sys.modules if name.startswith("tr_grpo.recipe")]
    main(sys.argv[1:])
