"""Who comes next. Every step has a budget of tokens: first the next token of every sequence that is being written, then what is left of prompts, a piece at a
time (Sarathi, Agrawal et al. 2023, arXiv:2308.16369), then sequences that wait, clients taking turns.

When pages run out, the sequence that came last gives up its own and waits again; what it has written stays, and is read anew (recomputation as in
vLLM). The one that came first always goes on, so all come to an end.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict, deque
from collections.abc import Callable

from ftheta.serving.pages import WHOLE, Pages
from ftheta.serving.sequence import Sequence


class Scheduler:
    """`together` sequences at most are written at a time, `chunk` tokens at most are read in a step, after `asked` of them it is asked what comes next;
    `longest` is how many tokens the model can look at."""

    def __init__(self, pages: Pages, together: int, chunk: int, longest: int | None, asked: int):
        self.pages, self.together, self.chunk, self.longest, self.asked = pages, together, chunk, longest, asked
        self.running: list[Sequence] = []
        """In order of arrival."""
        self.set_back: list[Sequence] = []
        """Those that gave up their pages, in order of arrival; they come before those that wait."""
        self.clients: OrderedDict[str, deque[Sequence]] = OrderedDict()
        """Those that wait, by client; the client whose turn it is first."""
        self.preemptions = 0

    @property
    def waiting(self) -> list[Sequence]:
        return [*self.set_back, *(sequence for line in self.clients.values() for sequence in line)]

    def add(self, sequence: Sequence) -> None:
        self.clients.setdefault(sequence.client, deque()).append(sequence)

    def plan(self, ahead: Callable[[Sequence], int] = lambda sequence: 0) -> dict[Sequence, int]:
        """How many tokens of which sequences are read in this step; of one that is being written also as many as may be guessed `ahead`, where they
        take neither pages nor turns of others."""
        budget, work = self.chunk, dict[Sequence, int]()
        for sequence in self.running:
            if self.longest is not None and len(sequence.request.window) > self.longest:
                self.start_over(sequence, self.longest)
        spare = min(budget, self.asked) - len(self.running)
        for sequence in sorted(self.running, key=lambda each: each.unseen > 1):           # a stable order: of each sort, who came first
            if budget and sequence in self.running and self.make_room(sequence, min(sequence.unseen, budget), work):
                work[sequence] = min(sequence.unseen, budget)
                if sequence.unseen == 1 and spare > 0:
                    more = min(ahead(sequence), spare)
                    if self.pages.needed(sequence.seen + 1 + more) - len(sequence.pages) <= self.pages.available:
                        self.extend(sequence, 1 + more)
                        work[sequence] += more
                        spare -= more
                budget -= work[sequence]
        while budget and len(self.running) < self.together and (sequence := self.next()) is not None:
            if not self.admit(sequence):
                break
            count = min(sequence.unseen, budget)
            self.extend(sequence, count)
            work[sequence] = count
            budget -= count
        return work

    def next(self) -> Sequence | None:
        """Whose turn it is."""
        if self.set_back:
            return self.set_back[0]
        return next((line[0] for line in self.clients.values()), None)

    def admit(self, sequence: Sequence) -> bool:
        """Let it begin, if there are pages for its whole window and one more for everybody else."""
        size, length = self.pages.size, len(sequence.request.window)
        shared = self.pages.find(sequence.marked(size)[: (length - 1) // size])           # a token at least is left to be read
        idle = sum(page in self.pages.idle for page in shared)
        growing = 0 if size == WHOLE else len(self.running)
        if self.pages.needed(length) - len(shared) + growing > self.pages.available - idle:
            return False
        self.pages.share(shared)
        self.pages.hits += len(shared) * size
        self.pages.asked += length
        sequence.pages, sequence.seen = shared, len(shared) * size
        sequence.drafted = sequence.seen
        self.leave_line(sequence)
        bisect.insort(self.running, sequence, key=lambda each: each.number)
        return True

    def leave_line(self, sequence: Sequence) -> None:
        if sequence in self.set_back:
            self.set_back.remove(sequence)
            return
        line = self.clients[sequence.client]
        first = line[0] is sequence
        line.remove(sequence)
        if not line:
            del self.clients[sequence.client]
        elif first:
            self.clients.move_to_end(sequence.client)

    def make_room(self, sequence: Sequence, count: int, work: dict[Sequence, int]) -> bool:
        """Get pages for `count` more tokens, from those who came last if need be; False when the sequence itself had to give up its pages."""
        while self.pages.needed(sequence.seen + count) - len(sequence.pages) > self.pages.available:
            last = self.running[-1]
            self.set_aside(last)
            work.pop(last, None)
            if last is sequence:
                return False
        self.extend(sequence, count)
        return True

    def extend(self, sequence: Sequence, count: int) -> None:
        pages, needed = sequence.pages, self.pages.needed
        length = len(sequence.request.window)
        whole = min(needed(length + sequence.request.most), max(needed(length), self.pages.count // self.together))        # its fair share, if it may become so long
        while len(pages) < needed(sequence.seen + count):
            pages.append(self.pages.take(pages[-1] if pages else None, max(1, whole - len(pages))))

    def set_aside(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self.running.remove(sequence)
        self.give_up(sequence)
        bisect.insort(self.set_back, sequence, key=lambda each: each.number)

    def give_up(self, sequence: Sequence) -> None:
        self.pages.release(sequence.pages)
        sequence.pages, sequence.seen, sequence.drafted = [], 0, 0

    def start_over(self, sequence: Sequence, longest: int) -> None:
        """Go on from the last half of what is longer than the model can look at."""
        self.give_up(sequence)
        sequence.request.window = sequence.request.window[-max(1, longest // 2) :]
        sequence.marks = []

    def read(self, sequence: Sequence, count: int) -> None:
        """`count` more tokens of it have been read: pages that became full are known from now on."""
        size = self.pages.size
        before, sequence.seen = sequence.seen, sequence.seen + count
        for number in range(before // size, sequence.seen // size):
            self.pages.publish(sequence.pages[number], sequence.marked(size)[number])

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is; its pages are free at once."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.give_up(sequence)
        elif sequence in self.set_back or sequence in self.clients.get(sequence.client, ()):
            self.leave_line(sequence)
