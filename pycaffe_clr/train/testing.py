"""Tests of a training's test nets, with Caffe's lines about them."""

from __future__ import annotations

import time

from pycaffe_clr.train import detection, passes, positions
from pycaffe_clr.train.events import TestResult
from pycaffe_clr.train.log import number
from pycaffe_clr.train.training import Training


class Tests:
    """Tests the nets of a training. interrupted: whether the last tests were, by a stop."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._tested_at = -1
        self.interrupted = False

    def due(self, iteration: int) -> bool:
        """Whether tests come before this iteration, and have not been made yet."""
        param = self._training.param
        if not param.test_interval or iteration % param.test_interval:
            return False
        return iteration != self._tested_at and bool(iteration > 0 or param.test_initialization)

    def all(self) -> list[TestResult]:
        """Test every test net; databases go on where the last test left them.

        Where the run is stopped meanwhile the nets go back to where they stood before.
        """
        training = self._training
        training.listener.testing()
        before = [positions.capture(test.net, test.feeds) for test in training.tests]
        results: list[TestResult] = []
        for index in range(len(training.tests)):
            result = self.one(index)
            if result is None:
                for test, place in zip(training.tests, before, strict=True):
                    positions.restore(test.net, test.feeds, place)
                self.interrupted = True
                return results
            results.append(result)
        self._tested_at = training.iteration
        self.interrupted = False
        training.listener.tests_done()
        return results

    def one(self, index: int) -> TestResult | None:
        """Test one net over its test_iter batches; None if the run was stopped meanwhile."""
        training, log = self._training, self._training.log
        begin = time.monotonic()
        test = training.tests[index]
        iterations = training.param.test_iter[index]
        log.testing(training.iteration, index)
        log.flush()
        version = detection.version_of(training.param)
        rated: list[tuple[str, detection.Precisions]] = []
        if version is None:
            sums, loss, _ = test.net.test(iterations, lambda: not training.stopping)
            outputs = passes.mean_outputs(test.net, sums, iterations)
        else:
            rated, loss = detection.rate(
                test.net, iterations, lambda: not training.stopping, version
            )
            outputs = [(name, detection.mean(precisions)) for name, precisions in rated]
        if training.stopping:
            log.write("Test interrupted.", "solver.cpp:362")
            return None
        if training.param.test_compute_loss:
            log.write(f"Test loss: {number(loss / iterations)}", "solver.cpp:383")
        for _, precisions in rated:
            self._tell_classes(precisions)
        log.outputs("Test", outputs, test.loss_weights)
        seconds = time.monotonic() - begin
        result = TestResult(training.iteration, index, outputs, loss / iterations, seconds)
        training.listener.tested(result)
        return result

    def _tell_classes(self, precisions: detection.Precisions) -> None:
        """The lines that SSD's solver has for classes."""
        log = self._training.log
        for label, precision in precisions.items():
            if precision is None:
                log.write(f"Missing true_pos for label: {label}", "solver.cpp:542", "W")
            elif self._training.param.show_per_class_result:
                log.write(f"class{label}: {number(precision)}", "solver.cpp:557")
