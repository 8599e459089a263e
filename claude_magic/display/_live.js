// The view of growing answers. Loaded after `display/_page.js`, whose functions it uses.
//
// Each block of an answer is an attribute of the model ("0.7" is the eighth block of the first answer) and an element of the
// page. Its formulas are typeset once: the final output takes over the typeset formulas.

const RETRY_INTERVAL = 500; // ms
const MAX_IDLE_WAIT = 1000; // ms after which formulas are typeset even if the page is never idle
const MIN_TIME_LEFT = 8; // ms that must remain in a period to start the next formulas
const TIME_PER_FRAME = 10; // ms for typesetting in a frame with new formulas
const FORMULA = "mathjax_process";
const NO_FORMULA = ["mathjax_ignore", "tex2jax_ignore"];
const LATER = "claude-magic-formula"; // ignored by Lab's typesetter
const UNSET = `.${FORMULA}, .${LATER}`;
const MAX_AT_ONCE = 12;

export default {
  // Once per page, even without a view because the cell is far outside the viewport. The kernel shows the view after this message.
  initialize({ model }) {
    let isReady = false;
    const listen = () => (isReady = true);
    const announce = () => !isReady && !model.get("has_ended") && model.send({ do: "listen" });
    // Repeated, because the kernel may not be ready yet.
    const announcing = setInterval(() => (isReady || model.get("has_ended") ? clearInterval(announcing) : announce()), RETRY_INTERVAL);
    const forgetKernel = watchKernel(model, (reason) => keep(model, reason));
    const end = () => model.get("has_ended") && askForFinal(model);
    const act = (message) => {
      listen();
      if (message.do === "finish") finish(model, message);
    };
    model.on("msg:custom", act);
    model.on("change:has_ended", end);
    announce();
    end();
    return () => {
      clearInterval(announcing);
      forgetKernel();
      model.off("msg:custom", act);
      model.off("change:has_ended", end);
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
      // In the same frame, so that the page is laid out only once.
      setter.work(periodOf(TIME_PER_FRAME));
    };
    const drawing = onNextFrame(draw);
    // Lab detaches views from the document and attaches them again. Formulas wait, because they have no size while detached.
    const attached = new IntersectionObserver(() => {
      successor.lookIn(surroundings.mark());
      setter.work();
    });
    const forgetKernel = watchKernel(model, (reason) => lose(el, reason));
    // Front ends that hide the notebook show the final output here.
    const showFinal = ({ do: what, data }) => {
      if (what !== "finish" || notebookOf(model)) return;
      Object.assign(el, { innerHTML: data["text/html"], className: "jp-RenderedHTMLCommon" });
      setter.add(el);
      setter.work();
    };
    const end = () => model.get("has_ended") && !notebookOf(model) && model.send({ do: "finish" });
    model.on("msg:custom", showFinal);
    model.on("change:has_ended", end);
    end();
    model.on("change", drawing.ask);
    attached.observe(el);
    draw();
    return () => {
      model.off("msg:custom", showFinal);
      model.off("change:has_ended", end);
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

// Draws at most once per frame, regardless of the number of messages. A hidden page does not draw.
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

// Marks all elements between the view and its output area for the stylesheet. `:has()` would be evaluated at each change.
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

// HTML from the kernel has passed the allow-list of `render/_sanitise.py`.
function show(block, html, onNew) {
  if (block.html === html) return;
  block.html = html;
  block.element.innerHTML = html;
  block.element.classList.toggle("claude-magic-fold", block.element.firstElementChild?.tagName === "DETAILS");
  onNew(block.element);
}

// The approval question for a tool call. It comes before Stop, because it must be decided first, and does not take the focus.
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
  words.setAttribute("role", "status"); // read out by screen readers
  const press = (label) => (event) => {
    const { number } = asked;
    // The second click of a double click must not decide the next call.
    if (event.detail > 1 && number !== decided) return;
    decided = number;
    // Keyboard navigation continues here after the button is gone.
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

// Stops on pointerdown, not only on click: the answer may move the button away before the pointer is released.
function makeStop(el, model) {
  const bar = make("div", "claude-magic-cell-stop", el);
  const showOrHide = () => (bar.hidden = !model.get("can_stop") || model.get("has_ended"));
  bar.dataset.lmSuppressShortcuts = "true"; // Enter presses the button instead of editing the cell
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

// Resolves with the next idle period.
const nextIdle = () =>
  new Promise((done) => {
    if (window.requestIdleCallback) requestIdleCallback(done, { timeout: MAX_IDLE_WAIT });
    else setTimeout(() => done(periodOf(TIME_PER_FRAME)), 50);
  });

function periodOf(length) {
  const end = performance.now() + length;
  return { timeRemaining: () => end - performance.now() };
}

// Typesets the formulas of blocks, a few at a time, in given periods and when the page is idle.
function makeSetter(typeset, isShown = () => true) {
  const sources = new WeakMap(); // of each typeset formula
  const waiting = [];
  let isWorking = false;
  const set = async (element) => {
    const formulas = formulasOf(element).map((formula) => [formula, formula.textContent]);
    formulas.forEach(([formula]) => (formula.className = FORMULA));
    try {
      await inPlace(element, () => typeset(element));
    } catch (error) {
      console.warn(error); // these formulas stay as source text
    }
    for (const [formula, source] of formulas.filter(([each]) => each.firstElementChild)) {
      sources.set(formula, source);
      // Later typesetting of its surroundings must ignore it.
      formula.className = NO_FORMULA.join(" ");
    }
  };
  const work = async (given) => {
    if (isWorking || !waiting.length) return;
    isWorking = true;
    for (let period = given ?? (await nextIdle()); waiting.length && isShown(); period = await nextIdle()) {
      do {
        const next = waiting.shift();
        if (next.isConnected) await set(next);
        else formulasOf(next).forEach((formula) => (formula.className = FORMULA)); // Lab typesets what it attaches again
      } while (waiting.length && period.timeRemaining() > MIN_TIME_LEFT);
    }
    isWorking = false;
  };
  return {
    sourceOf: (formula) => sources.get(formula),
    add: (block) => typeset && waiting.push(...inSmallParts(block)),
    work,
  };
}

// Changes an element without moving the visible content. The browser does not anchor scrolling within Lab's cells.
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

// Returns elements that together contain all formulas of an element, each only a few.
function inSmallParts(element) {
  const count = formulasOf(element).length;
  if (!count) return [];
  if (count <= MAX_AT_ONCE || !element.children.length) return [element];
  // Separately typeset text must not interpret dollar signs as formulas.
  element.classList.add(...NO_FORMULA);
  return [...element.children].flatMap(inSmallParts);
}

// The end

// The page that was there all the time has the final output already. Others have a notebook that contains the view: they
// put the final output in its place, so that it is saved.
async function askForFinal(model) {
  if (!notebookOf(model)) return;
  await model.widget_manager.context.ready;
  if (isInNotebook(model)) model.send({ do: "finish" });
  else forget(model);
}

function finish(model, { data, metadata }) {
  replaceView(model, { output_type: "display_data", data, metadata });
  if (notebookOf(model)) forget(model);
}

// Closes the model, or the box that contains it, in this page only.
async function forget(model) {
  const shown = await model.widget_manager.get_model(model.get("view_id")).catch(() => null);
  for (const each of [shown, ...(shown?.get("children") ?? [])].filter((each) => each?.comm)) {
    each.comm.jsServicesComm?.dispose?.();
    each.trigger("comm:close", each);
    each.close(true);
  }
}

// Replaces the view by an output with the received text when the kernel is gone.
function keep(model, reason) {
  const parts = [];
  for (let index = 0; index < model.get("count"); index += 1) {
    parts.push(model.get(`${index}.heading`) ?? "");
    for (let number = 0, html; (html = model.get(`${index}.${number}`)) !== undefined; number += 1) parts.push(html);
  }
  if (!model.get("has_ended")) parts.push(`<p><em>${reason} before the answer was complete.</em></p>`);
  const html = parts.join("");
  if (!html) return;
  const { textContent: text } = Object.assign(document.createElement("template"), { innerHTML: html }).content;
  replaceView(model, { output_type: "display_data", data: { "text/html": html, "text/plain": text }, metadata: {} });
}

const shows = (model, output) => output.data?.[VIEW_MIME]?.model_id === model.get("view_id");
const allOutputs = (model) => [...(notebookOf(model)?.cells ?? [])].map(({ outputs }) => outputs).filter(Boolean);
const indicesOf = (model, outputs) => [...Array(outputs.length).keys()].filter((index) => shows(model, outputs.get(index)));
const isInNotebook = (model) => allOutputs(model).some((outputs) => indicesOf(model, outputs).length);

function replaceView(model, output) {
  for (const outputs of allOutputs(model)) for (const index of indicesOf(model, outputs)) outputs.set(index, output);
}

// Watches the outputs of the cell for the one that replaces this view. Lab's typesetter, which runs afterwards, would typeset all
// its formulas at once, so it must not find any: typeset formulas are moved there, and the others are typeset later.
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
    // Detached formulas are typeset when they are attached again.
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

// Excludes an element from scroll anchoring for two frames: it may have been laid out with the sources of its formulas.
function keepDistance(element) {
  element.style.overflowAnchor = "none";
  requestAnimationFrame(() => requestAnimationFrame(() => (element.style.overflowAnchor = "")));
}

// Returns the typeset formulas by source.
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
