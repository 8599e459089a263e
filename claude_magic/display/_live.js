// Answers while they grow. It is loaded behind `display/_page.js`, whose functions it calls.
//
// Each block of an answer is an attribute of the model, "0.7" the eighth of the first answer, and an element of the page, whose
// formulas are set once. The output that stays takes them from here: nothing is set a second time.

const SAY_AGAIN = 500; // ms
const LATEST = 1000; // ms after which formulas are set also where the page is never idle
const LEAST_LEFT = 8; // ms of a period in which the next few are begun
const IN_FRAME = 24; // ms of a frame that brings new ones
const FORMULA = "mathjax_process";
const NO_FORMULA = ["mathjax_ignore", "tex2jax_ignore"];
const LATER = "claude-magic-formula"; // nothing to Lab's typesetter
const UNSET = `.${FORMULA}, .${LATER}`;
const AT_ONCE = 12;

export default {
  // Once per page, also where no view is made because the cell is far from what is in sight. From this word on the kernel shows the view.
  initialize({ model }) {
    let isHeard = false;
    const listen = () => (isHeard = true);
    const present = () => !isHeard && model.send({ do: "listen" });
    // Again and again: the kernel may not listen yet.
    const presenting = setInterval(() => (isHeard ? clearInterval(presenting) : present()), SAY_AGAIN);
    const forgetKernel = watchKernel(model, (reason) => keep(model, reason));
    model.on("msg:custom", listen);
    present();
    return () => {
      clearInterval(presenting);
      forgetKernel();
      model.off("msg:custom", listen);
    };
  },

  render({ model, el }) {
    const typeset = typesetterOf(model);
    const setter = makeSetter(typeset, () => el.isConnected);
    const successor = watchForSuccessor(el, typeset, setter.sourceOf);
    const surroundings = makeSurroundings(el);
    const answers = makeElements(el, model);
    const drawQuestion = makeQuestion(el, model);
    makeStop(el, model);
    const draw = () => {
      answers.forEach((answer, index) => drawAnswer(answer, (name) => model.get(`${index}.${name}`), setter.add));
      drawQuestion();
      // In the same frame, which is laid out once for both.
      setter.work(periodOf(IN_FRAME));
    };
    const drawing = onNextFrame(draw);
    // Lab takes a view out of the document and puts it back. Out there formulas have no size: they wait.
    const attached = new IntersectionObserver(() => {
      successor.lookIn(surroundings.mark());
      setter.work();
    });
    const forgetKernel = watchKernel(model, (reason) => lose(el, reason));
    model.on("change", drawing.ask);
    attached.observe(el);
    draw();
    return () => {
      model.off("change", drawing.ask);
      drawing.stop();
      attached.disconnect();
      surroundings.unmark();
      forgetKernel();
    };
  },
};

const make = (tag, className, parent) => {
  const element = document.createElement(tag);
  element.className = className;
  parent?.append(element);
  return element;
};

// However many messages come meanwhile: a page that is not seen draws nothing.
function onNextFrame(draw) {
  let asked = 0;
  return {
    ask: () =>
      (asked ||= requestAnimationFrame(() => {
        asked = 0;
        draw();
      })),
    stop: () => cancelAnimationFrame(asked),
  };
}

// Elements

function makeElements(el, model) {
  el.classList.add("claude-magic-live");
  const count = model.get("count");
  const all = make("div", count > 1 ? "claude-magic-live-columns" : "", el);
  return Array.from({ length: count }, () => {
    const column = make("div", "", all);
    const heading = { element: make("div", "jp-RenderedHTMLCommon", column), html: "" };
    return { heading, body: make("div", "jp-RenderedHTMLCommon claude-magic-live-answer", column), blocks: [] };
  });
}

// What stands between the button and what scrolls has a class by which the stylesheet finds it: `:has()` would be looked at with each change.
function makeSurroundings(el) {
  const marked = new Set();
  return {
    mark: () => {
      const area = el.closest(".jp-OutputArea");
      for (let each = area && el; each !== area; ) marked.add((each = each.parentElement));
      marked.forEach((each) => each.classList.add("claude-magic-around-live"));
      return area;
    },
    unmark: () => marked.forEach((each) => each.classList.remove("claude-magic-around-live")),
  };
}

function drawAnswer({ heading, body, blocks }, get, onNew) {
  show(heading, get("heading") ?? "", () => {});
  for (let number = 0, html; (html = get(number)) !== undefined; number += 1) {
    blocks[number] ??= { element: make("div", "", body), html: "" };
    show(blocks[number], html, onNew);
  }
}

// What the kernel sends has passed the allow-list of `render/_sanitise.py`.
function show(block, html, onNew) {
  if (block.html === html) return;
  block.html = html;
  block.element.innerHTML = html;
  block.element.classList.toggle("claude-magic-fold", block.element.firstElementChild?.tagName === "DETAILS");
  onNew(block.element);
}

// Whether a tool may run. It comes before Stop, as it is to be decided first, and takes no focus.
function makeQuestion(el, model) {
  const bar = make("div", "claude-magic-approval", el);
  const words = make("div", "", bar);
  const row = make("div", "claude-magic-verdicts", bar);
  const buttons = [];
  let asked = {};
  let decided = 0;
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "May this tool run?");
  bar.tabIndex = -1;
  bar.dataset.lmSuppressShortcuts = "true"; // Enter presses a button, and does not edit the cell
  words.setAttribute("role", "status"); // read out as it comes
  const press = (label) => (event) => {
    const { number } = asked;
    // The second click of two says nothing about the next call.
    if (event.detail > 1 && number !== decided) return;
    decided = number;
    // The next key goes on from here when the button is gone.
    if (bar.contains(document.activeElement)) bar.focus({ preventScroll: true });
    buttons.forEach((button) => (button.disabled = true));
    model.send({ do: "press", number, label });
  };
  return () => {
    const question = model.get("question");
    if (question === asked) return;
    const read = question.number === asked.number ? words.querySelector("div > div")?.scrollTop : 0;
    asked = question;
    words.innerHTML = question.html ?? "";
    if (read) words.querySelector("div > div").scrollTop = read;
    const shown = (question.buttons ?? []).map(({ label, hint, is_enabled }, index) => {
      const button = (buttons[index] ??= make("button", `jupyter-button${index ? "" : " mod-primary"}`));
      return Object.assign(button, { type: "button", textContent: label, title: hint, disabled: !is_enabled, onclick: press(label) });
    });
    row.replaceChildren(...shown);
  };
}

// A press counts, not only a click: the answer may move the button away before it is released.
function makeStop(el, model) {
  const bar = make("div", "claude-magic-cell-stop", el);
  const showOrHide = () => (bar.hidden = !model.get("can_stop") || model.get("has_ended"));
  bar.dataset.lmSuppressShortcuts = "true"; // Enter presses the button, and does not edit the cell
  const button = make("button", "jupyter-button", bar);
  Object.assign(button, { type: "button", textContent: "Stop", title: "Stop this answer. What has arrived stays." });
  const stop = () => {
    if (button.disabled) return;
    button.disabled = true;
    model.send({ do: "stop" });
  };
  button.onclick = stop;
  button.onpointerdown = (event) => event.button === 0 && stop();
  model.on("change:has_ended", showOrHide);
  showOrHide();
}

// Formulas

function typesetterOf(model) {
  const lab = model.widget_manager?.rendermime?.latexTypesetter;
  if (lab) return (element) => lab.typeset(element);
  return window.MathJax?.typesetPromise && ((element) => window.MathJax.typesetPromise([element]));
}

// Returns the next idle period.
const rest = () =>
  new Promise((done) => {
    if (window.requestIdleCallback) requestIdleCallback(done, { timeout: LATEST });
    else setTimeout(() => done(periodOf(IN_FRAME)), 50);
  });

function periodOf(length) {
  const end = performance.now() + length;
  return { timeRemaining: () => end - performance.now() };
}

// Sets the formulas of blocks, a few at a time, in the periods that it is given and when the page has nothing else to do.
function makeSetter(typeset, isShown = () => true) {
  const sources = new WeakMap(); // of each formula that is set
  const waiting = [];
  let isWorking = false;
  const set = async (element) => {
    const formulas = formulasOf(element).map((formula) => [formula, formula.textContent]);
    formulas.forEach(([formula]) => (formula.className = FORMULA));
    try {
      await inPlace(element, () => typeset(element));
    } catch (error) {
      console.warn(error); // these stay as their source
    }
    for (const [formula, source] of formulas.filter(([each]) => each.firstElementChild)) {
      sources.set(formula, source);
      // Whatever typesets around it leaves it alone from now on.
      formula.className = NO_FORMULA.join(" ");
    }
  };
  const work = async (given) => {
    if (isWorking || !waiting.length) return;
    isWorking = true;
    for (let period = given ?? (await rest()); waiting.length && isShown(); period = await rest()) {
      do {
        const next = waiting.shift();
        if (next.isConnected) await set(next);
        else formulasOf(next).forEach((formula) => (formula.className = FORMULA)); // Lab sets what it brings back
      } while (waiting.length && period.timeRemaining() > LEAST_LEFT);
    }
    isWorking = false;
  };
  return {
    sourceOf: (formula) => sources.get(formula),
    add: (block) => typeset && waiting.push(...inFew(block)),
    work,
  };
}

// Changes an element, and keeps what a reader sees where it is: within a cell of Lab's the browser does not do that.
async function inPlace(element, change) {
  const scrolls = (each) => each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY);
  let scroller = element.parentElement;
  while (scroller && !scrolls(scroller)) scroller = scroller.parentElement;
  const { bottom } = element.getBoundingClientRect();
  await change();
  if (scroller && bottom <= scroller.getBoundingClientRect().top)
    scroller.scrollTop += element.getBoundingClientRect().bottom - bottom;
}

const formulasOf = (element) => (element.matches(UNSET) ? [element] : [...element.querySelectorAll(UNSET)]);

// Elements that have all formulas of this one, each of them a few.
function inFew(element) {
  const count = formulasOf(element).length;
  if (!count) return [];
  if (count <= AT_ONCE || !element.children.length) return [element];
  // What is set by itself must be told that a dollar is no formula.
  element.classList.add(...NO_FORMULA);
  return [...element.children].flatMap(inFew);
}

// The end

// When the kernel is gone, what has come stays in the notebook, in the place of a view that is gone with it.
function keep(model, reason) {
  const parts = [];
  for (let index = 0; index < model.get("count"); index += 1) {
    parts.push(model.get(`${index}.heading`) ?? "");
    for (let number = 0, html; (html = model.get(`${index}.${number}`)) !== undefined; number += 1) parts.push(html);
  }
  if (!model.get("has_ended")) parts.push(`<p><em>${reason} before the whole answer had come.</em></p>`);
  const html = parts.join("");
  const { textContent: text } = Object.assign(document.createElement("template"), { innerHTML: html }).content;
  const output = { output_type: "display_data", data: { "text/html": html, "text/plain": text }, metadata: {} };
  for (const { outputs } of notebookOf(model)?.cells ?? [])
    for (let index = 0; index < (outputs?.length ?? 0); index += 1)
      if (outputs.get(index).data?.[VIEW_MIME]?.model_id === model.get("view_id")) outputs.set(index, output);
}

// Watches the outputs of the cell for the one that takes the place of this view. Lab's typesetter, which comes after that, would set all its
// formulas at once: it finds none. Those that are set move in, and the others follow.
function watchForSuccessor(el, typeset, sourceOf) {
  let area = null;
  const observer = new MutationObserver((changes) => {
    if (area.contains(el)) return;
    observer.disconnect();
    const set = setIn(el, sourceOf);
    const added = changes.flatMap(({ addedNodes }) => [...addedNodes]).filter((node) => node.querySelectorAll);
    added.forEach(keepDistance);
    for (const formula of added.flatMap(formulasOf)) {
      const ready = set.get(formula.textContent)?.shift();
      if (ready) formula.replaceWith(ready);
    }
    // What is out of the document is set when it comes back.
    if (typeset && area.isConnected) setLater(added.flatMap(formulasOf), typeset);
  });
  return {
    lookIn: (found) => {
      if (!found || found === area) return;
      observer.disconnect();
      area = found;
      observer.observe(area, { childList: true });
    },
  };
}

// It may have been laid out with the sources of its formulas, by which the browser would take its place for another.
function keepDistance(element) {
  element.style.overflowAnchor = "none";
  requestAnimationFrame(() => requestAnimationFrame(() => (element.style.overflowAnchor = "")));
}

// Returns the formulas that are set by their sources.
function setIn(el, sourceOf) {
  const found = new Map();
  for (const each of el.querySelectorAll(`.${NO_FORMULA[0]}`)) {
    const source = sourceOf(each);
    if (source && !found.get(source)?.push(each)) found.set(source, [each]);
  }
  return found;
}

function setLater(formulas, typeset) {
  const setter = makeSetter(typeset);
  const blocks = new Set(formulas.map((formula) => formula.closest(`.${NO_FORMULA[0]} > *`) ?? formula));
  formulas.forEach((formula) => (formula.className = LATER));
  for (const block of blocks) {
    if (!block.matches(`.${LATER}`)) block.classList.add(...NO_FORMULA);
    setter.add(block);
  }
  setter.work();
}
