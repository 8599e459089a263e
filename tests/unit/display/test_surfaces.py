"""Frames of all surfaces, drawn from handmade snapshots."""

import asyncio
import dataclasses
import io
import re
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ClaudeError
from claude_magic.display import FRAME_INTERVAL, AnswerContent, ComparisonContent, FrontEnd, QuietSurface
from claude_magic.display._buttons import start_widgets_import
from claude_magic.display._frames import LONGEST_INTERVAL
from claude_magic.display._surface import OutputSurface, TerminalSurface
from claude_magic.notebook._compare import ComparisonSnapshot
from claude_magic.render import Bundle, Column
from claude_magic.runtime import BlockSnapshot, Phase

from ..beginnings import BEGINNING


def streaming(text, *, thinking="", phase=Phase.STREAMING):
    blocks = [BlockSnapshot(kind="thinking", text=thinking, is_complete=True)] if thinking else []
    if text:
        blocks.append(BlockSnapshot(kind="text", text=text, is_complete=phase.is_final))
    return dataclasses.replace(BEGINNING, phase=phase, blocks=tuple(blocks))


def side_by_side(**answers):
    return ComparisonSnapshot(
        tuple(Column(name=name, kept_in=f'_["{name}"]', answer=each) for name, each in answers.items())
    )


def area(publisher, **how):
    """A surface with one answer, in a cell without other outputs."""
    return OutputSurface(publisher, AnswerContent(remote_images=False), **{"owns_area": True, **how})


def columns(publisher, **how):
    """A surface with several answers in one display."""
    return OutputSurface(publisher, ComparisonContent(remote_images=False), **{"owns_area": False, **how})


def terminal(stream, content=AnswerContent):
    return TerminalSurface(stream, content(remote_images=False))


class Publisher:
    """Stores published outputs, as an output area would."""

    def __init__(self):
        self.messages = []
        self.area = {}

    def publish(self, data, metadata=None, *, transient=None, update=False):
        display_id = (transient or {}).get("display_id", f"plain-{len(self.messages)}")
        assert update == (display_id in self.area)
        self.messages.append((display_id, data))
        self.area[display_id] = data

    def clear_output(self, wait=False):
        assert wait
        self.area.clear()


@pytest.fixture
def publisher():
    return Publisher()


def test_the_first_frame_says_what_is_being_waited_for(publisher):
    """A cell always shows its state."""
    area(publisher).draw(BEGINNING)

    ((_, data),) = publisher.messages
    assert set(data) == {"text/html"}
    assert "waiting" in data["text/html"]


def test_the_status_lines_place_becomes_the_answers(publisher):
    """No empty display remains above the first text."""
    surface = area(publisher)

    surface.draw(BEGINNING)
    surface.draw(streaming("Hello"))

    (data,) = publisher.area.values()
    assert "Hello" in data["text/html"]
    assert "waiting" not in data["text/html"]


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


def failed(text="Half an"):
    return dataclasses.replace(
        streaming(text, phase=Phase.FAILED), error=ClaudeError("It broke."), phase=Phase.FAILED
    )


def test_a_terminal_leaves_the_error_of_an_answer_to_its_cell():
    """The cell's error follows right below; several answers each show their own error."""
    alone, compared = Screen(), Screen()

    terminal(alone).finish(failed())
    terminal(compared, ComparisonContent).finish(side_by_side(opus=failed(), haiku=failed("")))

    assert "Half an" in alone.getvalue()
    assert "broke" not in alone.getvalue()
    assert compared.getvalue().count("It broke.") == 2


def test_without_colours_a_terminal_gets_no_dim_text():
    """`--colors=NoColor` and NO_COLOR turn colours off."""
    plain, dim = Screen(), Screen()
    for stream, has_colors in ((plain, False), (dim, True)):
        surface = TerminalSurface(stream, AnswerContent(remote_images=False), has_colors=has_colors)
        surface.draw(BEGINNING)
        surface.finish(streaming("Hello", phase=Phase.COMPLETE))

    assert "\x1b[2m" in dim.getvalue()
    assert not re.search(r"\x1b\[[\d;]*m", plain.getvalue())


def test_a_narrow_terminal_breaks_our_lines_between_words(monkeypatch):
    """The footer and notices are wrapped. Claude's text is unchanged, as is all output to files."""
    monkeypatch.setenv("COLUMNS", "20")
    screen, file = Screen(), io.StringIO()
    answer = "A line of an answer that is longer than the terminal is wide."
    for stream in (screen, file):
        surface = TerminalSurface(stream, AnswerContent(remote_images=False), has_colors=False)
        surface.finish(streaming(answer, phase=Phase.COMPLETE))
    monkeypatch.setattr("sys.stdout", screen)
    FrontEnd(types.SimpleNamespace(user_ns={})).say("400 rows, 400 of 400 requests answered")

    shown, *ours = [line for line in screen.getvalue().splitlines() if line]
    assert shown == answer
    assert ours[-2:] == ["400 rows, 400 of 400", "requests answered"]
    assert len(ours) > 3
    assert max(len(line) for line in ours) <= 20
    assert " ".join(ours[:-2]) == file.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("colors", "variable", "kernel", "expected"),
    [
        ("linux", "", False, True),
        ("NoColor", "", False, False),
        ("nocolor", "", True, False),
        ("linux", "1", False, False),
        ("linux", "1", True, True),
    ],
)
def test_colours_follow_the_shell_and_in_a_terminal_the_environment(
    monkeypatch, colors, variable, kernel, expected
):
    monkeypatch.setenv("NO_COLOR", variable)
    shell = types.SimpleNamespace(colors=colors, user_ns={}, **({"kernel": None} if kernel else {}))

    assert FrontEnd(shell).has_colors is expected


@pytest.mark.parametrize(
    ("shell", "is_terminal", "is_there"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"kernel": types.SimpleNamespace(_allow_stdin=True)}, False, True),
        ({"kernel": types.SimpleNamespace(_allow_stdin=False)}, True, False),
    ],
)
def test_a_person_is_asked_where_one_can_answer(monkeypatch, shell, is_terminal, is_there):
    """In a kernel the front end decides, otherwise the terminal. Only "y" and "yes" mean yes."""
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: is_terminal))
    answers = iter(["YES ", "", "no"])
    monkeypatch.setattr("builtins.input", lambda _question: next(answers))

    confirm = FrontEnd(types.SimpleNamespace(user_ns={}, **shell)).confirm

    assert (confirm is not None) is is_there
    if confirm is not None:
        assert [confirm("Send all rows?") for _ in range(3)] == [True, False, False]


def test_an_unchanged_frame_is_not_sent(publisher):
    """Drawing the same frame again sends nothing."""
    surface = area(publisher)

    for _ in range(3):
        surface.draw(streaming("Hello"))

    assert len(publisher.messages) == 1


def test_a_long_tail_is_drawn_less_often(publisher):
    """There are up to 15 frames per second, fewer if each is long, but at least two."""
    surface = area(publisher)

    assert surface.draw(streaming("short")) == FRAME_INTERVAL
    assert surface.draw(streaming("short " + "long " * 2_000)) == pytest.approx(0.4, rel=0.1)
    assert surface.draw(streaming("short " + "long " * 9_000)) == LONGEST_INTERVAL


def test_a_guest_keeps_to_one_display_and_clears_nothing(publisher):
    """Earlier prints of the cell keep their place, and the data rate is bounded."""
    surface = area(publisher, owns_area=False)

    intervals = [surface.draw(streaming("word " * n)) for n in (1, 2_000, 40_000)]
    surface.finish(streaming("word " * 40_000, phase=Phase.COMPLETE))

    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}
    assert intervals == sorted(intervals)
    assert intervals[-1] >= 1.0


def test_the_end_is_one_output_with_all_types(publisher):
    """It replaces all earlier frames."""
    surface = area(publisher)
    surface.draw(streaming("One.\n\n" * 1000, thinking="Hm."))

    surface.finish(streaming("One.\n\n" * 1000, thinking="Hm.", phase=Phase.COMPLETE))

    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}


@pytest.mark.parametrize("is_live", [True, False])
def test_an_answer_that_failed_without_a_word_leaves_nothing_but_its_error(publisher, is_live):
    """The status line is removed, and no empty output is added."""
    surface = area(publisher, is_live=is_live)
    surface.draw(BEGINNING)

    surface.finish(dataclasses.replace(BEGINNING, phase=Phase.FAILED))

    assert publisher.area == {}


@given(
    st.lists(
        st.sampled_from(["# H\n", "word ", "\n", "\n\n", "- item\n", "```\n", "$x$", "| a |\n"]), max_size=60
    )
)
def test_slots_only_ever_become_more(pieces):
    """Wherever the answer is cut, each display keeps its place, and all are in order."""
    publisher = Publisher()
    surface = area(publisher)
    text = ""

    shown = 0
    for piece in pieces:
        text += piece
        surface.draw(streaming(text))
        assert len(publisher.area) >= shown
        shown = len(publisher.area)

    assert shown <= 37
    assert list(publisher.area) == sorted(
        publisher.area, key=lambda display_id: int(display_id.rsplit("-")[-1])
    )


def test_a_terminal_gets_each_word_once():
    """Deltas are appended, without a status line in between."""
    stream = io.StringIO()
    surface = terminal(stream)

    for text in ("", "One", "One two", "One two three"):
        surface.draw(streaming(text) if text else BEGINNING)
    surface.finish(streaming("One two three.", phase=Phase.COMPLETE))

    assert stream.getvalue().startswith("One two three.\n\n")
    assert "claude-sonnet-5-5" in stream.getvalue()


def test_columns_are_one_display_that_is_sent_when_something_has_changed(publisher):
    """The final output replaces it."""
    surface = columns(publisher)
    growing = side_by_side(sonnet=streaming("One."), opus=streaming("Two."))

    surface.draw(growing)
    surface.draw(growing)
    surface.finish(
        side_by_side(
            sonnet=streaming("One.", phase=Phase.COMPLETE), opus=streaming("Two.", phase=Phase.COMPLETE)
        )
    )

    assert len(publisher.messages) == 2
    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}


def test_long_columns_are_sent_rarely(publisher):
    """The data rate is bounded."""
    surface = columns(publisher)

    interval = surface.draw(side_by_side(a=streaming("words " * 10_000), b=streaming("words " * 10_000)))

    assert len(publisher.messages[0][1]["text/html"]) <= round(interval * ComparisonContent.chars_per_second)


def test_a_surface_that_is_not_live_publishes_once(publisher):
    """Tools that compare outputs rely on this."""
    surface = columns(publisher, is_live=False)

    surface.draw(side_by_side(a=streaming("One.")))
    surface.finish(side_by_side(a=streaming("One.", phase=Phase.COMPLETE)))

    assert len(publisher.messages) == 1


def test_a_terminal_writes_one_after_the_other():
    """The second answer is written as soon as the first has ended; each is written once."""
    stream = io.StringIO()
    surface = terminal(stream, ComparisonContent)

    surface.draw(side_by_side(sonnet=streaming("One"), opus=streaming("Two and more.", phase=Phase.COMPLETE)))
    assert "Two" not in stream.getvalue()
    done = side_by_side(
        sonnet=streaming("One and all.", phase=Phase.COMPLETE),
        opus=streaming("Two and more.", phase=Phase.COMPLETE),
    )
    surface.draw(done)
    surface.finish(done)

    written = stream.getvalue()
    parts = ["sonnet\n──────\n", "One and all.", "claude-sonnet-5-5", "opus\n────\n", "Two and more."]
    assert [written.count(part) for part in parts[:2] + parts[3:]] == [1, 1, 1, 1]
    positions = [written.index(part) for part in parts]
    assert positions == sorted(positions)


def test_a_terminal_shows_why_an_answer_without_a_word_failed():
    """The reason is in the answer's place among the others."""
    stream = io.StringIO()
    surface = terminal(stream, ComparisonContent)

    surface.finish(
        side_by_side(
            sonnet=streaming("", phase=Phase.CANCELLED), opus=streaming("Two.", phase=Phase.COMPLETE)
        )
    )

    assert stream.getvalue().index("Interrupted.") < stream.getvalue().index("opus\n")


def test_a_terminal_says_how_an_answer_of_thoughts_alone_ended():
    """Among several answers, a heading is never without content."""
    stream = io.StringIO()
    surface = terminal(stream, ComparisonContent)

    surface.finish(
        side_by_side(
            sonnet=streaming("", thinking="Hm.", phase=Phase.CANCELLED),
            opus=streaming("Two.", phase=Phase.COMPLETE),
        )
    )

    assert stream.getvalue().index("Interrupted.") < stream.getvalue().index("opus\n")


def test_a_terminal_that_is_not_live_writes_once():
    """It writes at the end."""
    stream = io.StringIO()
    surface = TerminalSurface(stream, AnswerContent(remote_images=False), draws=False)

    surface.draw(streaming("One"))
    assert stream.getvalue() == ""
    surface.finish(streaming("One two.", phase=Phase.COMPLETE))

    assert stream.getvalue().startswith("One two.\n\n")


def test_a_quiet_surface_shows_only_what_it_is_given_for_the_end():
    """That is nothing for `--quiet`, otherwise a line or an error."""
    ends = []
    for surface in (QuietSurface(), QuietSurface(ends.append)):
        surface.draw(BEGINNING)
        surface.finish("the end")

    assert ends == ["the end"]


@given(st.text())
def test_no_control_character_of_a_model_reaches_a_terminal(text):
    """Escape sequences are made visible."""
    stream = io.StringIO()

    terminal(stream).finish(streaming(text, phase=Phase.COMPLETE))

    assert not [
        char
        for char in stream.getvalue()
        if (ord(char) < 32 or 127 <= ord(char) < 160) and char not in "\t\n"
    ]


def test_no_control_character_of_a_server_reaches_a_terminal_in_a_table_or_notice(capsys):
    """The name of a model, an id and a reason come from the server, too."""
    front_end = FrontEnd(types.SimpleNamespace())

    front_end.show(Bundle({"text/plain": "model\x1b]0;title\x07\t1"}, {}))
    front_end.say("a \x1b[2J line")

    assert capsys.readouterr().out == "model␛]0;title␇\t1\na ␛[2J line\n"


class FakeView:
    """A fake for the widget of an answer."""

    def __init__(self, *, has_page):
        self.has_page = has_page
        self.is_shown = False
        self.log = []

    def draw(self, _snapshot):
        self.log.append("draw")
        return FRAME_INTERVAL

    def show(self):
        self.is_shown = True
        return {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": ""}

    async def wait_for_page(self):
        return self.has_page

    def end(self, _snapshot):
        self.log.append("end")


def old(text, **how):
    """An answer that has taken a while."""
    return dataclasses.replace(streaming(text, **how), elapsed=2.0)


def area_with_view(publisher, *, has_page):
    """A surface that has drawn HTML and has created its widget."""
    view = FakeView(has_page=has_page)
    surface = area(publisher, in_widgets=lambda: view)
    surface.draw(streaming("Hello"))
    surface.draw(old("Hello"))  # begins to import the module of the widget
    start_widgets_import().join()
    surface.draw(old("Hello, you."))
    return surface, view


def test_where_a_page_has_the_widget_there_is_one_display_that_is_never_cleared(publisher):
    """HTML, the widget and the final output share one display, so nothing moves on the page."""
    surface, view = area_with_view(publisher, has_page=True)
    ((_, in_widget),) = publisher.area.items()

    surface.finish(old("Hello, you.", phase=Phase.COMPLETE))

    assert "application/vnd.jupyter.widget-view+json" in in_widget
    assert "Hello" in in_widget["text/html"]
    assert len({display_id for display_id, _ in publisher.messages}) == 1
    ((_, data),) = publisher.area.items()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}
    assert view.log[-1] == "end"
    assert not surface.has_cleared


@pytest.mark.parametrize(
    ("has_page", "is_asked_elsewhere", "last"),
    [
        (False, False, streaming("Hello, you.", phase=Phase.COMPLETE)),
        (True, True, streaming("Hello, you.", phase=Phase.COMPLETE)),
        (True, False, dataclasses.replace(BEGINNING, phase=Phase.FAILED)),
    ],
    ids=["no page is known to follow updates", "a question was asked beside it", "nothing came"],
)
def test_elsewhere_the_end_clears_the_cell(publisher, has_page, is_asked_elsewhere, last):
    """The cell then contains only the answer, even in front ends without display updates."""
    surface, view = area_with_view(publisher, has_page=has_page and not is_asked_elsewhere)
    if is_asked_elsewhere:
        assert asyncio.run(surface.view()) is None
        view.has_page = True  # late, and shown from now on
        surface.draw(old("Hello, you."))
        assert view.is_shown

    surface.finish(last)

    assert surface.has_cleared
    assert [set(data) for data in publisher.area.values()] == (
        [] if last.phase is Phase.FAILED else [{"text/html", "text/markdown", "text/plain"}]
    )
    assert view.log[-1] == "end"


@pytest.mark.parametrize("has_drawn_in_view", [False, True])
def test_a_person_is_asked_in_the_widget_which_is_made_for_that(publisher, has_drawn_in_view):
    """This also works in the first second of an answer. The final output is then an update."""
    if has_drawn_in_view:
        surface, view = area_with_view(publisher, has_page=True)
    else:
        view = FakeView(has_page=True)
        surface = area(publisher, in_widgets=lambda: view)
        surface.draw(streaming("May I?"))

    assert asyncio.run(surface.view()) is view
    assert (view.is_shown, view.log[-1]) == (True, "draw")
    surface.finish(streaming("I may.", phase=Phase.COMPLETE))

    assert not surface.has_cleared
    assert "widget" not in str(publisher.messages[-1])
    assert asyncio.run(surface.view()) is None  # an answer that has ended is not drawn over


def test_where_answers_are_not_drawn_in_widgets_nobody_is_asked_in_one(publisher):
    """This applies to the setting `live` and to front ends without widgets."""
    assert asyncio.run(area(publisher).view()) is None


def test_a_widget_that_no_page_has_is_not_shown(publisher):
    """A front end without the extension would show an error. A page may report the widget later."""
    surface, view = area_with_view(publisher, has_page=False)

    surface.draw(old("Hello, you. More."))
    ((_, data),) = publisher.area.items()
    view.has_page = True
    surface.draw(old("Hello, you. More. And more."))
    ((_, later),) = publisher.area.items()

    assert set(data) == {"text/html"}
    assert "More" in data["text/html"]
    assert "end" not in view.log
    assert "application/vnd.jupyter.widget-view+json" in later
