"""Names of TeX commands and environments that are known to be harmless in a formula, by what they do with what follows.

Taken from the maps of MathJax's base, AMS, mathtools, braket, cancel, color, mhchem and bussproofs packages. A command that
stands in none of these sets is taken for one of the worst kind: see `_safe_tex`.
"""

from __future__ import annotations

from typing import Final

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
"""Signs, functions, blanks, fonts: nothing is put inside them, and they read no number."""

_TAKER_NAMES: Final = """
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
TAKERS: Final = frozenset(_TAKER_NAMES.split())
"""Commands that take arguments in braces, show each once, and read no number in them."""

_SWITCH_NAMES: Final = """
    BIC BinaryInf BinaryInfC color displaystyle huge Huge large Large LARGE lower moveleft moveright normalsize not
    QuaternaryInf QuaternaryInfC QuinaryInf QuinaryInfC raise scriptscriptstyle scriptsize scriptstyle small textstyle TIC
    tiny Tiny TrinaryInf TrinaryInfC UIC UnaryInf UnaryInfC
"""
SWITCHES: Final = frozenset(_SWITCH_NAMES.split())
"""Commands that put what follows, or what stood before, one level deeper without braces, and read no count."""

_MEASURE_NAMES: Final = """
    above framebox genfrac hskip hspace kern lower mathmakebox mkern moveleft moveright mskip mspace overbracket raise
    raisebox Rule rule Space underbracket
"""
MEASURES: Final = frozenset(_MEASURE_NAMES.split())
"""Commands that read lengths, and no count."""

_ENVIRONMENT_NAMES: Final = """
    align align* aligned bmatrix bmatrix* Bmatrix Bmatrix* bsmallmatrix Bsmallmatrix cases cases* dcases dcases*
    drcases eqnarray eqnarray* equation equation* flalign flalign* gather gather* gathered lgathered matrix matrix*
    multline multline* multlined numcases pmatrix pmatrix* prooftree psmallmatrix rcases rgathered smallmatrix split
    subnumcases vmatrix vmatrix* Vmatrix Vmatrix* vsmallmatrix Vsmallmatrix
"""
ENVIRONMENTS: Final = frozenset(_ENVIRONMENT_NAMES.split())
"""Environments that read no number."""
