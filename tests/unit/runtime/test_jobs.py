"""Jobs: stable numbers, and the list of ended ones."""

from claude_magic.runtime import Phase, Question, Reply
from claude_magic.runtime._progress import Progress
from claude_magic.runtime._reply import KEPT_JOBS, Jobs


class Started:
    """Replies that are in flight until a test ends them."""

    def __init__(self):
        self.replies = []

    def start(self):
        question = Question(prompt="hi")
        progress = Progress(question, model="claude-test", max_attempts=1)
        reply = Reply(question, progress, thread=None, asked_with=None)
        reply.bind(lambda: progress.cancel(None))
        self.replies.append(reply)
        return reply

    def in_flight(self):
        return [reply for reply in self.replies if not reply.done()]


def test_a_number_is_given_once_and_never_to_another():
    """Also if the first one has ended and is no longer listed."""
    started = Started()
    jobs = Jobs(started.in_flight)
    first, second = started.start(), started.start()

    assert [(job.number, job.reply) for job in jobs.all()] == [(1, first), (2, second)]
    first.cancel()
    third = started.start()

    assert [(job.number, job.reply) for job in jobs.all()] == [(2, second), (3, third)]


def test_answers_of_background_cells_are_listed_after_their_end():
    """Up to a maximum; replies in flight are always listed."""
    started = Started()
    jobs = Jobs(started.in_flight)
    for number in range(KEPT_JOBS + 5):
        reply = started.start()
        jobs.add(reply, cell=f"cell {number}")
        if number:
            reply.cancel()

    listed = [job.number for job in jobs.all()]

    assert len(listed) == KEPT_JOBS
    assert listed[0] == 1
    assert listed[-1] == KEPT_JOBS + 5


def test_a_cell_stops_its_own_answers_only():
    """An unknown cell stops none."""
    started = Started()
    jobs = Jobs(started.in_flight)
    mine, other = started.start(), started.start()
    jobs.add(mine, cell="mine")
    jobs.add(other, cell=None)

    jobs.stop_of_cell(None)
    assert not mine.done()
    assert not other.done()
    jobs.stop_of_cell("mine")

    assert mine.phase is Phase.CANCELLED
    assert not other.done()
