"""Which `%claude` lines are subcommands, which are prompts, and which are typos."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from claude_magic.notebook._commands import COMMANDS, find_command
from claude_magic.notebook._line import prompt_of, read_cell, read_line
from claude_magic.notebook._options import Options


class StubNamespace:
    """A kernel with a variable, a module, outputs, errors and two threads."""

    def names(self):
        return dict.fromkeys(("df", "np", "_", "__", "_1", "Out", "In", "Err"), object())

    def threads(self):
        return ("main", "side")


HERE = StubNamespace()


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("status", "status", {}),
        ("  usage ", "usage", {}),
        ("history", "history", {}),
        ("history side", "history", {"thread": "side"}),
        ("clear main", "clear", {"thread": "main"}),
        ("fork other-idea", "fork", {"name": "other-idea"}),
        ("undo", "undo", {}),
        ("undo 3", "undo", {"n": "3"}),
        ("save talk.json", "save", {"file": "talk.json"}),
        ("save 'my talk.json'", "save", {"file": "my talk.json"}),
        ("save 'my # 1.json'", "save", {"file": "my # 1.json"}),
        ('load "~/a b/talk.JSON"', "load", {"file": "~/a b/talk.JSON"}),
        ("budget", "budget", {}),
        ("budget 2.00", "budget", {"amount": "2.00"}),
        ("budget $.5", "budget", {"amount": "$.5"}),
        ("budget off", "budget", {"amount": "off"}),
        ("demo  on", "demo", {"state": "on"}),
        ("limits --live", "limits", {"live": "--live"}),
        ("?", "help", {}),
        (" ??", "help", {}),
        *((name, name, {}) for name in ("threads", "limits", "models", "login", "logout", "help")),
        ("login                        # asks for an API key", "login", {}),
        ("help #", "help", {}),
        ("budget 2  # US dollars", "budget", {"amount": "2"}),
    ],
)
def test_a_line_that_fits_a_subcommand_as_a_whole_is_one(line, name, arguments):
    """With its argument, if the subcommand takes one."""
    call = find_command(line, HERE)

    assert call is not None
    assert (call.command.name, call.arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("line", "name", "arguments", "options"),
    [
        ("fix", "fix", {}, Options()),
        ("continue", "continue", {}, Options()),
        ("explain df", "explain", {"name": "df"}, Options()),
        ("explain np.linalg.norm", "explain", {"name": "np.linalg.norm"}, Options()),
        *(
            (f"explain {name}", "explain", {"name": name}, Options())
            for name in ("_", "__", "_1", "_77", "_i3", "Out", "In", "Err")
        ),
        ("explain Out[3]", "explain", {"name": "Out[3]"}, Options()),
        ("explain df['a b'].T[-1]", "explain", {"name": "df['a b'].T[-1]"}, Options()),
        ("-m opus fix", "fix", {}, Options(model="opus")),
        ("explain df # my sales", "explain", {"name": "df"}, Options()),
        ("note << --quiet explain df ", "explain", {"name": "df"}, Options(out="note", quiet=True)),
    ],
)
def test_a_subcommand_that_asks_claude_may_have_options_before_it(line, name, arguments, options):
    """It is a question like any prompt."""
    request = read_line(line, HERE)

    assert find_command(line, HERE) is None
    assert request.call is not None
    assert (request.call.command.name, request.call.arguments) == (name, arguments)
    assert request.options == options
    assert not request.is_empty


@pytest.mark.parametrize(
    "line",
    [
        "explain why the sky is blue",
        "explain gravity",
        "explain df please",
        "explain what # means in Python",
        "explain 3 laws of thermodynamics",
        "explain the difference between --thread and --new",
        "fix my code",
        "fix: x = = 1",
        "history of Rome",
        "explain the result",
        "explain C++",
        "explain GPT-4?",
        "fix it, please",
        "fix \N{CJK UNIFIED IDEOGRAPH-6211}\N{CJK UNIFIED IDEOGRAPH-7684}",
        "code review checklist",
        "help me with pandas",
        "Continue please",
        "continue the story",
        "continue the story with a dragon",
        "stop words in NLP",
        "stop using emojis in your answers",
        "undo the change that I made to this file",
        "save me from these long meetings",
        "load balancing in nginx, how does it work?",
        "clear the table and start over",
        "budget for a family of four",
        "status: all good?",
        "Clear the table",
        "tell me a joke",
        "use less words",
        "have fun",
        "form follows function",
        "panels of a comic",
        "logic gates",
        "top 10 songs",
        "six",
        "for example",
        "model trains",
        "thread safety",
        "work hard",
        "why?",
        "hi",
        "hello",
        "start",
        "statistics",
        "naïve",
    ],
)
def test_any_other_line_is_a_prompt(line):
    """Verbatim, whatever its first word."""
    request = read_line(line, HERE)

    assert find_command(line, HERE) is None
    assert request.call is None
    assert request.prompt == line


@given(st.sampled_from(["ask", "-m opus ask", "x << ask", "--", "-m opus --"]), st.text())
def test_after_ask_or_two_dashes_everything_is_a_prompt(opening, text):
    """Including subcommands and options; one space after the word is not part of the prompt."""
    request = read_line(f"{opening} {text}", HERE)

    assert request.prompt == text
    assert request.call is None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_ask_escapes_every_subcommand(command):
    """Including those that ask Claude."""
    assert find_command(f"ask {command.name}", HERE) is None
    assert read_line(f"ask {command.name}", HERE).prompt == command.name


def test_ask_is_a_word_of_its_own():
    """`asking` is not `ask ing`, and the first line of a cell is not parsed for subcommands."""
    assert read_line("asking nicely", HERE).prompt == "asking nicely"
    assert read_cell("ask me", "more", HERE).prompt == "ask me\nmore"
    assert read_cell("fix", "x = = 1\n", HERE).prompt == "fix\nx = = 1"
    assert read_line("ask", HERE).is_empty


@pytest.mark.parametrize(
    ("line", "meant", "escaped"),
    [
        ("hlep", "%claude help?", "%claude ask hlep."),
        ("fxi", "%claude fix?", "%claude ask fxi."),
        ("sotp", "%claude stop [N|all]?", "%claude ask sotp."),
        ("statsu", "%claude status?", "%claude ask statsu."),
        ("histroy", "%claude history [THREAD]?", "%claude ask histroy."),
        ("Status", "%claude status?", "%claude ask Status."),
        ("modle", "%claude models?", "%claude ask modle."),
        ("limti", "%claude limits [--live]?", "%claude ask limti."),
        ("fx", "%claude fix?", "%claude ask fx."),
        ("und0", "%claude undo [N]?", "%claude ask und0."),
        ("log-out", "%claude logout?", "%claude ask log-out."),
        ("\N{ZERO WIDTH SPACE}status", "%claude status?", "%claude ask \N{ZERO WIDTH SPACE}status."),
        ("demo", "%claude demo on|off?", "%claude ask demo."),
        ("fork", "%claude fork NAME?", "%claude ask fork."),
        ("explain", "%claude explain NAME?", "%claude ask explain."),
        ("-m opus usage", "%claude usage?", "%claude -m opus ask usage."),
        ("--set user=me usage", "%claude usage?", "%claude [options] ask usage."),
        ("Status.", "%claude status?", "%claude ask Status. Nothing"),
        ("jobs!", "%claude jobs?", "%claude ask jobs! Nothing"),
        ("-m opus contniue", "%claude -m opus continue?", "%claude -m opus ask contniue."),
        # Options that are refused before the subcommand, or before a prompt, are left out.
        ("--new contineu", "%claude continue?", "%claude --new ask contineu."),
        ("--new fxi", "%claude --new fix?", "%claude --new ask fxi."),
        ("--map df fxi", "%claude fix?", "%claude --map df ask fxi."),
        ("--bg fxi", "%claude fix?", "%claude --bg ask fxi."),
        ("--approve never fxi", "%claude fix?", "%claude ask fxi."),
        ("--approve never contineu", "%claude --approve never continue?", "%claude ask contineu."),
    ],
)
def test_a_prompt_of_one_word_that_is_probably_a_typo_is_not_sent(line, meant, escaped):
    """The error suggests a subcommand, and how to send the word as a prompt."""
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    message = str(caught.value)
    assert f"Did you mean {meant}" in message
    assert f"To send it as a prompt: {escaped}" in message
    assert message.endswith("Nothing was sent.")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_no_name_with_one_typo_is_sent(command):
    """Wrong, missing, doubled or swapped letters at any position, alone or before one valid argument."""
    name = command.name
    places = range(len(name))
    typos = {name[:at] + "q" + name[at + 1 :] for at in places}
    typos |= {name[:at] + name[at] * 2 + name[at + 1 :] for at in places}
    typos |= {name[:at] + name[at + 1 :] for at in places}
    typos |= {name[:at] + name[at : at + 2][::-1] + name[at + 2 :] for at in places[:-1]}
    typos -= {name}
    # "for idea" is a prompt; behind these two any word is an argument.
    argued = [f"{word} idea" for word in typos if name in ("fork", "panel") and word not in ("for", "pane")]
    for line in (*typos, *argued):
        with pytest.raises(UsageError, match=r"Nothing was sent\.$"):
            read_line(line, HERE)


def test_a_cell_that_consists_of_a_subcommand_is_not_sent():
    """Subcommands have one percent sign. A cell with text below its first line is always a prompt."""
    for body in ("", "\n", "  \n"):
        with pytest.raises(UsageError, match="Did you mean %claude fix"):
            read_cell("fix", body, HERE)
    assert read_cell("-- fix", "", HERE).prompt == "fix"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--max-cost 2 fix", "--max-cost goes with --map"),
        ("--map df fix", "--map asks about each row with a prompt, and fix is a subcommand"),
        (
            "--map df --bg explain df",
            "--map asks about each row with a prompt, and explain df is a subcommand",
        ),
        ("--map df --dry-run continue", "and continue is a subcommand"),
        ("--interact df explain df", "explain df has none"),
        ("--interact df --dry-run fix", "fix has none"),
        ("--interact df {{ df }};", "a ; at the end of the prompt hides them"),
        ("--compare sonnet,opus continue", "`continue` continues a single answer"),
        ("--compare sonnet,opus --dry-run fix", "`fix` puts the code of one into a new cell"),
        ("--bg fix", "Leave out --bg"),
        ("--bg --dry-run fix # now", "Leave out --bg"),
        ("--new continue", "--new starts a conversation, and `continue` goes on"),
        ("--approve never hi", "--approve goes with --tools"),
        ("--approve ask fix", "--approve goes with --tools"),
        ("--map df --approve never {{ item }}", "--approve goes with --tools"),
        ("--approve never -- hi", "--approve goes with --tools"),
        ("--approve never ask hi", "--approve goes with --tools"),
    ],
)
def test_an_option_that_its_prompt_or_subcommand_would_ignore_is_refused(line, why):
    """The error gives the reason."""
    with pytest.raises(UsageError, match=r"Nothing was sent\.$") as caught:
        read_line(line, HERE)

    assert why in str(caught.value)


@pytest.mark.parametrize("line", ["--approve never", "--max-cost 2", "--interact n --approve ask"])
def test_an_option_that_a_cell_would_ignore_is_refused(line):
    with pytest.raises(UsageError, match=r" goes with --.*Nothing was sent\.$"):
        read_cell(line, "{{ n }}", HERE)


@pytest.mark.parametrize(
    "line",
    [
        "--approve never continue",
        "--tools f --approve never fix",
        "--map df -- fix",
        "--map df ask fix",
        "--new fix",
        "--bg continue",
    ],
)
def test_an_option_that_has_an_effect_is_accepted(line):
    """`continue` calls the tools of the answer that it continues."""
    assert read_line(line, HERE).options != Options()


@given(st.text(alphabet="-=moutasfixdehlp '\"\\<> \t", max_size=30))
def test_any_line_is_parsed_or_refused_in_one_line(line):
    """No other error is raised, and each refusal says that nothing was sent."""
    complaint = None
    try:
        find_command(line, HERE)
        read_line(line, HERE)
    except UsageError as error:
        complaint = str(error)

    assert complaint is None or ("\n" not in complaint and complaint.endswith("Nothing was sent."))


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("login hunter2", "login"),
        ("logn hunter2", "login"),
        ("budget 2 USD", "budget 2"),
        ("budget 2,50", "budget 2.50"),
        ("budget -1", "budget [AMOUNT|off]"),
        ("budget 2 or 3", "budget [AMOUNT|off]"),
        ("budget USD 1,000.50", "budget [AMOUNT|off]"),
        ("budget offf", "budget off"),
        ("budget two", "budget [AMOUNT|off]"),
        ("buget two", "budget [AMOUNT|off]"),
        ("budget: two", "budget [AMOUNT|off]"),
        ("budgte off", "budget off"),
        ("login: two words", "login"),
        ("Login: two words", "login"),
        ("lgoin two words", "login"),
        ("fokr idea", "fork idea"),
        ("frk idea", "fork idea"),
        ("forkk idea", "fork idea"),
        ("gork idea", "fork idea"),
        ("Fork idea", "fork idea"),
        ("fork: idea", "fork idea"),
        ("fokr two words", "fork NAME"),
        ("panle data", "panel data"),
        ("claer all", "clear [THREAD]"),
        ("modle claude-opus", "--model claude-opus PROMPT"),
        ("model opus", "--model opus PROMPT"),
        ("hlep tools", "help"),
        ("exlpain dff", "explain df"),
        (f"budget {'9' * 300}", "budget [AMOUNT|off]"),
        (f"budget {'9' * 5000} USD", "budget [AMOUNT|off]"),
        (f"undo {'9' * 5000}", "undo [N]"),
        (f"stop {'9' * 5000}", "stop [N|all]"),
        ("budget=2", "budget 2"),
        ("Budget 2", "budget 2"),
        ("/budget 2", "budget 2"),
        ("budgt 2", "budget 2"),
        ("budgt 2 USD", "budget 2"),
        ("-m opus budget 2", "budget 2"),
        ("x << budget 2", "budget 2"),
        ("save talk", "save talk.json"),
        ("save talk.txt", "save FILE.json"),
        ("save me.json now", "save FILE.json"),
        ("load 'a.json", "load FILE|notebook"),
        ("load notebok", "load notebook"),
        ("sav talk.json", "save talk.json"),
        ("undo last", "undo [N]"),
        ("undo that", "undo [N]"),
        ("undo 0", "undo [N]"),
        ("undo the last 3 turns", "undo 3"),
        ("undoo 3", "undo 3"),
        ("limits --liv", "limits --live"),
        ("limits live", "limits --live"),
        ("limits —live", "limits --live"),
        ("jobs 2", "jobs"),
        ("clear all", "clear [THREAD]"),
        ("clear sid", "clear side"),
        ("clear the table", "clear [THREAD]"),
        ("fork the repository", "fork NAME"),
        ("demo maybe", "demo on|off"),
        ("demo onn", "demo on"),
        ("status -v", "status"),
        ("status?", "status"),
        ("usage please", "usage"),
        ("models opus", "models"),
        ("threads 2", "threads"),
        ("panel two words", "panel [THREAD]"),
        ("logout now", "logout"),
        ("help --tools", "help"),
        ("help tools", "help"),
        ("help budget", "help"),
        ("history 3", "history [THREAD]"),
        ("history -3", "history [THREAD]"),
        ("history sid", "history side"),
        ("histroy side", "history side"),
        ("stop --all", "stop all"),
        ("stop job 2", "stop 2"),
        ("stop #2", "stop 2"),
        ("stpo 2", "stop 2"),
        ("stop al", "stop all"),
        ("stop foo", "stop [N|all]"),
        ("stop everything", "stop [N|all]"),
        ("stop all now", "stop [N|all]"),
        ("stop all of them at once", "stop [N|all]"),
        ("stop the running job", "stop [N|all]"),
        ("stop 2 and then 3", "stop [N|all]"),
        ("Stop everything", "stop [N|all]"),
        ("stpo everything now", "stop [N|all]"),
        ("/stop: everything", "stop [N|all]"),
        ("jobs x", "jobs"),
        ("clear nope", "clear [THREAD]"),
        ("switch abc", "switch N"),
        ("undo please", "undo [N]"),
        ("history nope", "history [THREAD]"),
        ("history mian", "history main"),
        ("hsitory nope", "history [THREAD]"),
        ("continue please", "continue"),
        ("fix it", "fix"),
        ("-m opus fix it", "-m opus fix"),
        ("code it", "code"),
        ("help me", "help"),
        ("hlep me", "help"),
        ("explain my_df", "explain NAME"),
        ("explain df2", "explain df"),
        ("explain sales.total", "explain NAME"),
        ("explain rows[0]?", "explain NAME"),
        ("fix --code", "fix"),
        ("fix 3", "fix"),
        ("fix df", "fix"),
        ("continue 2", "continue"),
        ("explain dff", "explain df"),
        ("explain DF", "explain df"),
        ("explain err", "explain Err"),
        ("explain df.", "explain df"),
        ("explain df?", "explain df"),
        ("explain 1df", "explain df"),
        ("explain dff.T", "explain df.T"),
        ("explian df", "explain df"),
        ("explain -m opus df", "[options] explain NAME"),
        ("explain df -m opus", "[options] explain NAME"),
    ],
)
def test_a_line_that_begins_like_a_subcommand_but_does_not_fit_it_is_not_sent(line, meant):
    """A typo never turns a command about money, secrets or deletion into a prompt; the error says what to type."""
    assert find_command(line, HERE) is None
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    message = str(caught.value)
    assert f"Did you mean %claude {meant}? " in message or f"The form is %claude {meant}. " in message
    assert "To send it as a prompt: %claude" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("budget -3", "-3 is not an amount. The form is %claude budget [AMOUNT|off]. "),
        ("budget abc", "abc is not an amount. The form is %claude budget [AMOUNT|off]. "),
        ("budget 2 USD", "2 USD is not an amount. Did you mean %claude budget 2? "),
        ("switch x", "x is not the number of a turn. The form is %claude switch N. "),
        ("switch", "%claude switch needs an argument. Did you mean %claude switch N? "),
        ("undo 0", "0 is not a number of turns. The form is %claude undo [N]. "),
        (
            "clear nope",
            "There is no thread nope. The form is %claude clear [THREAD]. %claude threads lists them. ",
        ),
        ("clear sid", "There is no thread sid. Did you mean %claude clear side? "),
        ("fork two words", "two words cannot be the name of a thread. The form is %claude fork NAME. "),
        ("save talk.txt", "talk.txt is not the name of a .json file. The form is %claude save FILE.json. "),
        (
            "load talk.txt",
            "talk.txt is not the name of a .json or .ipynb file. The form is %claude load FILE|",
        ),
        (
            "stop foo",
            "foo is not the number of an answer. The form is %claude stop [N|all]. %claude jobs lists ",
        ),
        ("demo maybe", "maybe is neither on nor off. The form is %claude demo on|off. "),
        ("limits now", "now is not an argument of this subcommand. The form is %claude limits [--live]. "),
        (
            "explain my_df",
            "There is no variable, function, class or module my_df. The form is %claude explain NAME. ",
        ),
        ("status -v", "%claude status takes nothing after it. Did you mean %claude status? "),
        ("login hunter2", "%claude login takes nothing after it. Did you mean %claude login? "),
        # Here the name itself is wrong, or is right.
        ("budgt abc", "%claude budgt abc is not a subcommand. Did you mean "),
        ("budget=2", "%claude budget=2 is not a subcommand. Did you mean %claude budget 2? "),
    ],
)
def test_a_wrong_argument_is_not_called_a_wrong_subcommand(line, wrong):
    """The error says what is wrong with the argument."""
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    assert str(caught.value).startswith(wrong)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("stop everything", "%claude jobs lists the answers with their numbers."),
        ("history nope", "%claude threads lists them."),
    ],
)
def test_the_error_says_what_the_argument_is(line, hint):
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    assert f". {hint} To send it as a prompt: %claude ask … Nothing was sent." in str(caught.value)


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if not command.takes_prose], ids=lambda c: c.name
)
@pytest.mark.parametrize("rest", ["--nonsense", "17 18", "¿", "two words"])
def test_no_words_after_a_command_about_money_or_secrets_are_sent(command, rest):
    """Except for a whole sentence."""
    with pytest.raises(UsageError, match=r"Nothing was sent\.$"):
        read_line(f"{command.name} {rest}", HERE)
    sentence = f"{command.name} is a word that people use"
    assert read_line(sentence, HERE).prompt == sentence


KEY = "sk-ant-api03-abcDEF0123456789"


@pytest.mark.parametrize(
    "line",
    [
        f"{word}{KEY}"
        for word in (
            "login ",
            "logn ",
            "login: ",
            "login=",
            "LOGIN ",
            "status ",
            "login with my key ",
            "login  # ",
            "/login ",
        )
    ],
)
def test_a_key_after_a_command_is_neither_sent_nor_shown(line):
    """The error says where to enter a key."""
    with pytest.raises(UsageError) as caught:
        read_line(line, HERE)

    assert "%claude login alone" in str(caught.value)
    assert "sk-ant" not in str(caught.value)


def test_text_after_login_is_never_shown():
    """It may be a secret in any form, and errors are saved with the notebook."""
    with pytest.raises(UsageError) as caught:
        read_line("login hunter2", HERE)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("budget 2", ""),
        ("budget 2 USD", ""),
        ("budget 2", "Hello"),
        ("-m opus undo 3", "Hello"),
        ("status", "Hello"),
    ],
)
def test_a_cell_with_an_exact_subcommand_is_not_sent(line, body):
    """Nor a cell that has one on its first line."""
    with pytest.raises(UsageError, match="To send it as a prompt"):
        read_cell(line, body, HERE)
    assert read_cell(f"-- {line}", body, HERE).prompt


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("save the date", "a poem"),
        ("", "budget 2"),
        ("", "status\n"),
        ("-m opus", "fix"),
        ("history", "of Rome"),
    ],
)
def test_text_below_the_first_line_is_always_a_prompt(line, body):
    """Subcommands are lines with one percent sign; the first line of a cell may begin with any word."""
    assert read_cell(line, body, HERE).prompt


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("%%claude\nWhy?", "Why?"),
        ("%%claude\nWhy?\n", "Why?"),
        ("\n%%claude -m opus Why\nis it?", "Why\nis it?"),
        ("%%claude -o answer\r\nWhy?", "Why?"),
        ("%claude why is it?", "why is it?"),
        ("%claude x << -m opus why?", "why?"),
        ("%claude ask status", "status"),
        ("%claude -- status", "status"),
        ("%claude fix", "fix"),
        ("%claude explain df", "explain df"),
        ("%claude history", None),
        ("%claude load notebook", None),
        ("%claude", None),
        ("%%claude\n\n", None),
        ("%%claude --nonsense\nWhy?", None),
        ("%%claude --map df\nWhy?", None),
        ("%claude --dry-run why?", None),
        ("x = 1\n%claude why?", None),
        ("%claude why?\nx = 1", None),
        ("print('%claude why?')", None),
        ("%%claudette\nWhy?", None),
        ("", None),
    ],
)
def test_the_prompt_of_a_saved_cell_is_what_it_would_ask(source, prompt):
    """Only cells that ask a question have one; a saved cell lacks the line break that IPython appends."""
    assert prompt_of(source) == prompt
