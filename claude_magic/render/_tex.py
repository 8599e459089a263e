r"""Decides which formulas are safe to typeset with MathJax. Others are shown as source.

A formula of a model may contain commands that link, restyle or redefine macros. It may also freeze or crash the page,
each time the notebook is opened. Four properties are limited: nesting depth, because MathJax and the browser recurse;
counts, as in `\begin{alignat}{99999999}`; lengths; and the total work, which is limited for a whole answer as well.

Known harmless commands are listed below. For any other command, the worst case is assumed: everything after it, up to
the end of its group, is one level deeper; each argument is drawn twice; and a number in its arguments is a count that
multiplies their cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from markdown_it.token import Token

from ..schema import hidden_in

# TeX commands and environments that are known to be harmless in a formula, by their effect on what follows.
#
# Taken from the maps of MathJax's packages base, AMS, mathtools, braket, cancel, color, mhchem and bussproofs. For any
# other command, the worst case is assumed (see the module docstring).
_SYMBOL_NAMES: Final = """
    aleph allowbreak alpha alwaysDashedLine alwaysNoLine alwaysRootAtBottom alwaysRootAtTop alwaysSingleLine
    alwaysSolidLine amalg And angle approx approxeq arccos arcsin arctan arctanh arg argmax argmin Arrowvert arrowvert
    ast asymp atop backepsilon backprime backsim backsimeq backslash barwedge Bbbk bbFont because beta beth between bf
    Big big bigcap bigcirc bigcup Bigg bigg Biggl biggl Biggm biggm Biggr biggr Bigl bigl Bigm bigm bigodot bigoplus
    bigotimes Bigr bigr bigsqcup bigstar bigtimes bigtriangledown bigtriangleup biguplus bigvee bigwedge blacklozenge
    blacksquare blacktriangle blacktriangledown blacktriangleleft blacktriangleright bmod bot bowtie Box boxdot boxminus
    boxplus boxtimes brace bracevert brack bullet Bumpeq bumpeq cal Cap cap cdot cdotp cdots centercolon centerdot
    checkmark chi choose circ circeq circlearrowleft circlearrowright circledast circledcirc circleddash circledR
    circledS clubsuit colon Colonapprox colonapprox Coloneq coloneq Coloneqq coloneqq Colonsim colonsim complement cong
    coprod cos cosh cot coth cr csc Cup cup curlyeqprec curlyeqsucc curlyvee curlywedge curvearrowleft curvearrowright
    dagger daleth dashedLine dashleftarrow dashrightarrow dashv dblcolon ddagger ddots deg Delta delta det diagdown
    diagup Diamond diamond diamondsuit digamma dim displaylimits div divideontimes divsymbol Doteq doteq doteqdot
    dotplus dots dotsb dotsc dotsi dotsm dotso doublebarwedge doublecap doublecup Downarrow downarrow downdownarrows
    downharpoonleft downharpoonright ell emptyset enspace ensuremath epsilon eqcirc Eqcolon eqcolon Eqqcolon eqqcolon
    eqsim eqslantgtr eqslantless equiv eta eth exists exp fallingdotseq fCenter Finv flat forall frak frown Game Gamma
    gamma gcd ge geq geqq geqslant gets gg ggg gggtr gimel gnapprox gneq gneqq gnsim gt gtrapprox gtrdot gtreqless
    gtreqqless gtrless gtrsim gvertneqq hbar hdashline heartsuit hfil hfill hfilll hline hom hookleftarrow
    hookrightarrow hslash idotsint iff iiiint iiint iint Im imath impliedby implies in inf infty injlim int intercal
    intop iota it jmath Join kappa ker Lambda lambda land langle LaTeX lbrace lbrack lceil ldotp ldots le leadsto
    Leftarrow leftarrow leftarrowtail leftharpoondown leftharpoonup leftleftarrows Leftrightarrow leftrightarrow
    leftrightarrows leftrightharpoons leftrightsquigarrow leftthreetimes leq leqq leqslant lessapprox lessdot lesseqgtr
    lesseqqgtr lessgtr lesssim lfloor lg lgroup lhd lim liminf limits limsup ll llcorner Lleftarrow lll llless
    lmoustache ln lnapprox lneq lneqq lnot lnsim log Longleftarrow longleftarrow Longleftrightarrow longleftrightarrow
    longleftrightarrows longLeftrightharpoons longmapsto Longrightarrow longrightarrow longRightleftharpoons
    longrightleftharpoons looparrowleft looparrowright lor lozenge lparen lrcorner Lsh lt ltimes lVert lvert lvertneqq
    maltese mapsto mathstrut max measuredangle medspace mho mid middle min mit models mp MTThinColon mu multimap nabla
    natural ncong ndownarrow ne nearrow neg negmedspace negthickspace negthinspace neq newline nexists ngeq ngeqq
    ngeqslant ngtr ni nLeftarrow nleftarrow nLeftrightarrow nleftrightarrow nleq nleqq nleqslant nless nmid nobreak
    nobreakspace nolimits noLine nonscript nonumber notag notin nparallel nprec npreceq nRightarrow nrightarrow
    nshortmid nshortparallel nsim nsubseteq nsubseteqq nsucc nsucceq nsupseteq nsupseteqq ntriangleleft ntrianglelefteq
    ntriangleright ntrianglerighteq nu nuparrow nVDash nVdash nvDash nvdash nwarrow odot of oint oldstyle Omega omega
    omicron ominus oplus ordinarycolon oslash otimes over owns parallel partial perp Phi phi Pi pi pitchfork pm Pr prec
    precapprox preccurlyeq preceq precnapprox precneqq precnsim precsim prime prod projlim propto protect Psi psi qquad
    quad rangle rbrace rbrack rceil Re relax restriction rfloor rgroup rhd rho Rightarrow rightarrow rightarrowtail
    rightharpoondown rightharpoonup rightleftarrows rightleftharpoons rightrightarrows rightsquigarrow rightthreetimes
    risingdotseq rm rmoustache rootAtBottom rootAtTop rparen Rrightarrow Rsh rtimes rVert rvert S scr searrow sec
    setminus sf sharp shortmid shortparallel Sigma sigma sim simeq sin singleLine sinh smallfrown smallint smallsetminus
    smallsmile smile solidLine space spadesuit sphericalangle sqcap sqcup sqsubset sqsubseteq sqsupset sqsupseteq square
    star strut Subset subset subseteq subseteqq subsetneq subsetneqq succ succapprox succcurlyeq succeq succnapprox
    succneqq succnsim succsim sum sup Supset supset supseteq supseteqq supsetneq supsetneqq surd swarrow tan tanh tau
    TeX textasciitilde textbackslash textbar textbullet textdegree textdollar textellipsis textemdash textendash
    texteuro textgreater textless textquotedblleft textquotedblright textquoteleft textquoteright textsterling
    textunderscore textyen therefore Theta theta thickapprox thicksim thickspace thinspace times to top triangle
    triangledown triangleleft trianglelefteq triangleq triangleright trianglerighteq tripledash tt twoheadleftarrow
    twoheadrightarrow ulcorner unlhd unrhd upalpha Uparrow uparrow upbeta Updownarrow updownarrow upharpoonleft
    upharpoonright uplus Upsilon upsilon upuparrows urcorner varDelta varepsilon varGamma varinjlim varkappa varLambda
    varliminf varlimsup varnothing varOmega varPhi varphi varPi varpi varprojlim varpropto varPsi varrho varSigma
    varsigma varsubsetneq varsubsetneqq varsupsetneq varsupsetneqq varTheta vartheta vartriangle vartriangleleft
    vartriangleright varUpsilon varXi Vdash vDash vdash vdots vee veebar Vert vert Vvdash wedge wp wr Xi xi yen zeta
"""
SYMBOLS: Final = frozenset(_SYMBOL_NAMES.split())
"""Symbols, functions, spaces and fonts. They take no argument and read no number."""

_ARGUMENT_COMMAND_NAMES: Final = """
    Aboxed acute AXC Axiom AxiomC bar Bbb bcancel binom boldsymbol boxed Bra bra Braket braket breve buildrel cancel
    cancelto ce cellcolor centernot centerOver cfrac check clap colorbox columncolor cramped crampedclap crampedllap
    crampedrlap crampedsubstack dbinom ddddot dddot ddot dfrac dot empheqbigl empheqbigr empheql empheqr enclose eqref
    fbox fcolorbox frac grave hat hbox hphantom Ket ket Ketbra ketbra label LeftLabel LL llap mathbb mathbf mathbfcal
    mathbffrak mathbfit mathbfscr mathbfsf mathbfsfit mathbfsfup mathbfup mathbin mathcal mathclap mathclose mathfrak
    mathinner mathit mathllap mathmbox mathnormal mathop mathopen mathord mathpunct mathrel mathring mathrlap mathrm
    mathscr mathsf mathsfit mathsfup mathtt mathup mbox mod operatorname overbrace overleftarrow overleftrightarrow
    overline overparen overrightarrow overset overunderset phantom pmod pod prescript pu ref refeq RightLabel RL rlap
    rowcolor Set set shortvdotswithin shoveleft shoveright sideset smash splitdfrac splitfrac sqrt stackbin stackrel
    substack symbb symbf symbfcal symbffrak symbfit symbfscr symbfsf symbfsfit symbfsfup symbfup symcal symfrak symit
    symnormal symrm symscr symsf symsfit symsfup symtt symup tag tbinom text textbf textclap textcolor textit textllap
    textnormal textrlap textrm textsf texttt textup tfrac tilde underbrace underleftarrow underleftrightarrow underline
    underparen underrightarrow underset vcenter vdotswithin vec vphantom widehat widetilde xcancel xhookleftarrow
    xhookrightarrow xLeftarrow xleftarrow xleftharpoondown xleftharpoonup xLeftrightarrow xleftrightarrow
    xLeftrightharpoons xleftrightharpoons xlongequal xmapsto xmathstrut xRightarrow xrightarrow xrightharpoondown
    xrightharpoonup xRightleftharpoons xrightleftharpoons xtofrom xtwoheadleftarrow xtwoheadrightarrow
"""
ARGUMENT_COMMANDS: Final = frozenset(_ARGUMENT_COMMAND_NAMES.split())
"""Commands that take arguments in braces, draw each argument once, and read no number in them."""

_SWITCH_NAMES: Final = """
    BIC BinaryInf BinaryInfC color displaystyle huge Huge large Large LARGE lower moveleft moveright normalsize not
    QuaternaryInf QuaternaryInfC QuinaryInf QuinaryInfC raise scriptscriptstyle scriptsize scriptstyle small textstyle TIC
    tiny Tiny TrinaryInf TrinaryInfC UIC UnaryInf UnaryInfC
"""
SWITCHES: Final = frozenset(_SWITCH_NAMES.split())
"""Commands that nest the following or preceding part one level deeper without braces, and read no count."""

_MEASURE_NAMES: Final = """
    above framebox genfrac hskip hspace kern lower mathmakebox mkern moveleft moveright mskip mspace overbracket raise
    raisebox Rule rule Space underbracket
"""
MEASURES: Final = frozenset(_MEASURE_NAMES.split())
"""Commands that read lengths but no counts."""

_ENVIRONMENT_NAMES: Final = """
    align align* aligned bmatrix bmatrix* Bmatrix Bmatrix* bsmallmatrix Bsmallmatrix cases cases* dcases dcases*
    drcases eqnarray eqnarray* equation equation* flalign flalign* gather gather* gathered lgathered matrix matrix*
    multline multline* multlined numcases pmatrix pmatrix* prooftree psmallmatrix rcases rgathered smallmatrix split
    subnumcases vmatrix vmatrix* Vmatrix Vmatrix* vsmallmatrix Vsmallmatrix
"""
ENVIRONMENTS: Final = frozenset(_ENVIRONMENT_NAMES.split())
"""Environments that take no number."""


# Longer formulas are of no use, and MathJax would take seconds for them.
MAX_FORMULA_CHARS: Final = 5_000
# Maximum nesting depth. 180 to 400 levels crash the page in Chromium (MathJax 4).
_MAX_DEPTH: Final = 60
# Maximum factor by which nested commands may multiply the cost of their arguments.
_MAX_WEIGHT: Final = 128
# Maximum total length of gaps and rules in em. More would move the rest of the formula out of view.
_MAX_EMS: Final = 200.0
# Maximum cost of a formula. A unit takes about 2 ms on a busy machine, during which the page does not respond.
_MAX_COST: Final = 3_000
# At this depth, a character costs twice as much as at the top level.
_LEVELS_PER_COST: Final = 8
_COST_OF_A_SWITCH: Final = 5
# Maximum number of characters between a command and a group that still counts as its argument.
_MAX_BARE_ARGUMENTS: Final = 4

WORD_JOINER: Final = "\N{WORD JOINER}"
"""An invisible character. After the backslash of a command, it disables the command."""

# Commands that link, load, style, set ids, or change macros and counters for every other formula on the page.
_UNSAFE_COMMAND: Final = re.compile(
    r"\\(?:href|url|require|html\w*|class|cssId|style|data|includegraphics|unicode|mmlToken|bbox"
    r"|[egx]?def|let|futurelet|(?:re|provide)?newcommand|renewcommand|providecommand|newenvironment"
    r"|renewenvironment|newtagform|renewtagform|usetagform|DeclareMathOperator|DeclarePairedDelimiters?X?(?:PP)?"
    r"|definecolor|newcolumntype|setOptions|mathtoolsset|catcode|input|include|write|loop|csname|Newextarrow|texttip|mathtip|toggle"
    r")(?![A-Za-z])"
)
_TOKEN: Final = re.compile(
    r"""(?P<comment>%[^\n]*)
    | \\begin\s*\{\s*(?P<begin>[^{}]*?)\s*\}
    | (?P<end>\\end\s*\{[^{}]*\})
    | \\(?P<command>[A-Za-z]+)
    | (?P<row>\\\\|&)
    | (?P<sign>\\.|\\$)
    | (?P<number>\d+(?:[.,]\d*)?|[.,]\d+)\s*(?P<unit>(?:em|ex|mu|pt|px|pc|cm|mm|in|bp|dd|cc|sp)(?![A-Za-z]))?
    | (?P<blank>\s+)
    | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_EMS: Final = {"em": 1.0, "ex": 0.5, "mu": 0.06, "pc": 1.2, "cc": 1.3, "cm": 2.9, "mm": 0.3, "in": 7.3}
_EMS_IN_A_POINT: Final = 0.1
_COMMENT: Final = re.compile(r"%[^\n]*")
_TROUBLE_IN_COMMENT: Final = re.compile(r"[{}\\$&]")
_DELIMITER: Final = re.compile(r"\$\$|\\[()\[\]]")
_ESCAPED: Final = re.compile(r"\\[\\{}$]")


@lru_cache(maxsize=512)
def weight_of(formula: str) -> int | None:
    """Return the cost of typesetting a formula, about 1 per character; None if the formula is not safe."""
    if len(formula) > MAX_FORMULA_CHARS or _UNSAFE_COMMAND.search(formula):
        return None
    if _DELIMITER.search(_ESCAPED.sub("", formula)) or hidden_in(formula, is_code=True):
        return None
    try:
        return _Scan(formula).cost
    except _TooMuchError:
        return None


def is_too_much(text: str) -> bool:
    """Return whether text would exceed the limits on depth, counts or lengths if parsed as a formula."""
    try:
        _Scan(text, is_formula=False)
        _Scan(_COMMENT.sub("", text), is_formula=False)
    except _TooMuchError:
        return True
    return False


class _TooMuchError(Exception):
    """The formula exceeds a limit, or is malformed."""


@dataclass(slots=True)
class _Reader:
    """A command or environment whose arguments may follow.

    Attributes:
        is_counting: Whether a number in an argument is a count. Arguments are then drawn more than once.
        bare_left: How many more characters without braces may be arguments.
        bare_after_group: Whether characters without braces may also be arguments after a group.
        has_group: Whether a group has been read as an argument.
        is_in_bracket: Whether an optional argument in brackets is open.
    """

    is_counting: bool
    bare_left: int
    bare_after_group: bool
    has_group: bool = False
    is_in_bracket: bool = False


class _Group(NamedTuple):
    """An open group: its closing delimiter, its initial depth, its role as an argument, and the state after it."""

    end: str
    start_depth: int
    argument_of: _Reader | None
    is_taken: bool
    outer_depth: int
    outer_weight: int


class _Scan:
    """Checks a formula token by token, in linear time.

    Args:
        formula: The formula.
        is_formula: Whether it must be a complete formula of limited cost. If not, only depth, counts and lengths are
            checked.

    Attributes:
        cost: The cost of typesetting it, about 1 per character.

    Raises:
        _TooMuchError: The formula is not safe.
    """

    def __init__(self, formula: str, *, is_formula: bool = True) -> None:
        self.cost = 0
        self._is_formula = is_formula
        self._groups: list[_Group] = []
        self._depth = 0
        self._weight = 1
        self._reader: _Reader | None = None
        self._arguments: list[_Reader] = []  # those whose groups are open, outermost first
        self._is_taken = False  # whether the next token is an argument of the command before it
        self._ems = 0.0
        position = 0
        while token := _TOKEN.match(formula, position):
            position = token.end()
            if token.lastgroup == "comment" and (not is_formula or self._is_in_argument()):
                position = token.start() + 1
            elif token.lastgroup != "blank":
                self._step(token)
                self._add_cost(1)
        if self._groups:
            self._reject_unbalanced()

    def _step(self, token: re.Match[str]) -> None:
        is_taken, self._is_taken = self._is_taken, False
        match token.lastgroup:
            case "comment":
                if _TROUBLE_IN_COMMENT.search(token[0]):
                    raise _TooMuchError
            case "begin":
                self._begin(token["begin"])
            case "end":
                self._close(r"\end")
            case "command":
                self._command(token["command"], is_taken=is_taken)
            case "row":
                self._row(token[0])
            case "number" | "unit":
                self._number(token["number"], token["unit"])
            case _:
                self._mark(token[0], is_taken=is_taken)

    def _is_in_argument(self) -> bool:
        """Whether the current group is an argument. MathJax finds its end first, so a comment cannot hide the end."""
        return bool(self._groups) and self._groups[-1].is_taken

    # Tokens

    def _begin(self, name: str) -> None:
        self._bare()
        self._open(r"\end")
        if name not in ENVIRONMENTS:
            self._reader = _Reader(is_counting=True, bare_left=1, bare_after_group=False)

    def _command(self, name: str, *, is_taken: bool) -> None:
        if name == "left":
            self._open(r"\right")
        elif name == "right":
            self._close(r"\right")
        elif name in ("begin", "end", "verb"):  # without a name in braces, or around anything
            self._reject_unbalanced()
        elif name in SYMBOLS:
            self._bare()
        elif name in ARGUMENT_COMMANDS:
            self._bare()
            self._deepen(1 if is_taken else 0)
            self._is_taken = True
        else:
            self._reading_command(name)

    def _reading_command(self, name: str) -> None:
        is_known = name in SWITCHES or name in MEASURES
        is_counting = not is_known or self._is_in_counting_bracket()
        if name not in MEASURES or name in SWITCHES:
            self._deepen(1)
            self._add_cost(_COST_OF_A_SWITCH)
        self._bare()
        if name in MEASURES or not is_known:
            self._reader = _Reader(
                is_counting=is_counting, bare_left=_MAX_BARE_ARGUMENTS, bare_after_group=True
            )

    def _row(self, mark: str) -> None:
        self._reader = None
        if self._groups and self._groups[-1].end == r"\end":
            self._depth = self._groups[-1].start_depth
        if mark != "&":
            # It may take a length: \\[1em].
            self._reader = _Reader(is_counting=False, bare_left=1, bare_after_group=False)

    def _number(self, digits: str, unit: str | None) -> None:
        reader = self._reader
        is_direct = reader is not None and (reader.is_in_bracket or not reader.has_group)
        if unit and (self._arguments or is_direct):
            self._add_length(digits, unit)
        elif not unit and (
            any(each.is_counting for each in self._arguments)
            or (reader is not None and reader.is_counting and is_direct)
        ):
            self._multiply(digits)
        self._bare()
        if unit and reader is not None:
            reader.has_group = True

    def _mark(self, mark: str, *, is_taken: bool) -> None:
        match mark:
            case "{":
                self._open("}", is_taken=is_taken)
            case "}":
                self._close("}")
            case "[" if is_taken:
                self._deepen(1)
                self._is_taken = True
            case "[" if self._reader is not None:
                self._reader.is_in_bracket = True
            case "]" if self._reader is not None:
                self._reader.is_in_bracket = False
            case "^" | "_" | "'":
                self._add_cost(1)
                self._end_reading()
            case "*" | "+" | "-":
                pass
            case _:
                self._bare()

    # Levels

    def _open(self, end: str, *, is_taken: bool = False) -> None:
        reader = self._reader if end == "}" else None
        outer_depth, outer_weight = self._depth, self._weight
        self._deepen(1)
        if reader is not None:
            self._arguments.append(reader)
            if reader.is_counting:
                self._multiply("2")
        self._groups.append(_Group(end, self._depth, reader, is_taken, outer_depth, outer_weight))
        self._reader = None

    def _close(self, end: str) -> None:
        if not self._groups or self._groups[-1].end != end:
            self._reject_unbalanced()
            return
        group = self._groups.pop()
        self._depth, self._weight = group.outer_depth, group.outer_weight
        self._reader = group.argument_of
        if self._reader is not None:
            self._arguments.pop()
            self._reader.has_group = True

    def _deepen(self, levels: int) -> None:
        self._depth += levels
        if self._depth > _MAX_DEPTH:
            raise _TooMuchError

    def _reject_unbalanced(self) -> None:
        """Reject a formula with an unmatched delimiter; in running text, ignore it."""
        if self._is_formula:
            raise _TooMuchError

    # Arguments

    def _bare(self) -> None:
        """Count a character without braces as an argument, or end the arguments if no more are allowed."""
        reader = self._reader
        if reader is None or reader.is_in_bracket:
            return
        if reader.bare_left <= 0 or (reader.has_group and not reader.bare_after_group):
            self._reader = None
        reader.bare_left -= 1

    def _end_reading(self) -> None:
        if self._reader is not None and not self._reader.is_in_bracket:
            self._reader = None

    def _is_in_counting_bracket(self) -> bool:
        return self._reader is not None and self._reader.is_in_bracket and self._reader.is_counting

    # Amounts

    def _multiply(self, digits: str) -> None:
        count = digits.replace(",", ".").partition(".")[0].lstrip("0") or "1"
        if len(count) > len(str(_MAX_WEIGHT)):
            raise _TooMuchError
        self._weight *= int(count)
        if self._weight > _MAX_WEIGHT:
            raise _TooMuchError

    def _add_length(self, digits: str, unit: str) -> None:
        self._ems += float(digits[:20].replace(",", ".")) * _EMS.get(unit, _EMS_IN_A_POINT)
        if self._ems > _MAX_EMS or len(digits) > 20:
            raise _TooMuchError

    def _add_cost(self, signs: int) -> None:
        self.cost += signs * self._weight * (1 + self._depth // _LEVELS_PER_COST)
        if self.cost > _MAX_COST and self._is_formula:
            raise _TooMuchError


def is_unsafe_command(text: str, start: int) -> bool:
    """Return whether the backslash at `start` begins an unsafe command."""
    return bool(_UNSAFE_COMMAND.match(text, start))


def with_unsafe_commands_disabled(text: str) -> str:
    """Return `text` with an invisible character in each unsafe command, which disables the command."""
    return _UNSAFE_COMMAND.sub(lambda command: f"\\{WORD_JOINER}{command[0][1:]}", text)


# Limits the size of a rendered answer, in proportion to the length of its text.
#
# A few characters of Markdown can become a very large page, for example the empty cells of a sparse table, or a short
# reference to a long URL. Therefore the size of each block is estimated from its tokens before it is rendered; parsing
# takes linear time. A block that would exceed the allowance is shown as source. Formulas have a separate allowance for
# the cost of typesetting.
TOO_LARGE: Final = "Shown as source: rendered, it would be far larger than its source."
TOO_MANY_FORMULAS: Final = "The rest of the formulas are shown as source: more would slow the page down."

_CHARS_PER_WRITTEN: Final = 24
_ALWAYS_CHARS: Final = 8_000
_MAX_FORMULA_COST: Final = 20_000
_ELEMENT_CHARS: Final = 20
_LINK_CHARS: Final = 100


@dataclass(slots=True)
class Allowance:
    """How much of one answer may still be rendered. It grows with the length of the answer.

    Attributes:
        written: Characters of the answer before the current part.
        drawn: Estimated characters of HTML so far.
        formula_cost: Cost of the formulas so far, as returned by `weight_of`.
    """

    written: int = 0
    drawn: int = 0
    formula_cost: int = 0

    def copy(self) -> Allowance:
        """Return an independent copy."""
        return Allowance(self.written, self.drawn, self.formula_cost)

    def admit(self, tokens: Iterable[Token], written: int) -> bool:
        """Return whether a block may be rendered, and count it if so.

        Args:
            tokens: The tokens of the block.
            written: Characters of the answer up to the end of the block.
        """
        drawn = self.drawn + sum(map(_weight, tokens))
        is_admitted = drawn <= _ALWAYS_CHARS + _CHARS_PER_WRITTEN * written
        self.drawn = drawn if is_admitted else self.drawn
        return is_admitted

    def admit_formula(self, source: str) -> bool:
        """Return whether a formula may be typeset, and count it if so. Unsafe formulas are never typeset."""
        cost = weight_of(source)
        if cost is None or self.has_no_formulas_left:
            return False
        self.formula_cost += cost
        return True

    @property
    def has_no_formulas_left(self) -> bool:
        """Whether the allowance for formulas is used up."""
        return self.formula_cost >= _MAX_FORMULA_COST


def _weight(token: Token) -> int:
    """Return the estimated number of characters of HTML for a token and its children."""
    weight = len(token.content) if token.type != "inline" else 0
    if token.nesting >= 0:
        weight += _ELEMENT_CHARS if token.tag else 0
    if token.attrs:
        weight += sum(len(str(value)) for value in token.attrs.values()) + (
            _LINK_CHARS if token.type in ("link_open", "image") else 0
        )
    return weight + sum(map(_weight, token.children or ()))
