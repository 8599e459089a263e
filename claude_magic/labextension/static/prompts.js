// Shows %%claude cells, and cells of one %claude line, as prose, in JupyterLab 4 and Notebook 7. It only adds decorations: the cell
// stays a Python cell, and the text is sent as typed.
"use strict";
(() => {
  // Those of notebook/_options.py: tests/unit/test_labextension.py compares them.
  const FLAGS = "-- --new --no-history --raw -x --code --quiet --bg --web-search --dry-run".split(" ");
  const VALUED = (
    "-m --model --compare -s --system --max-tokens --effort --thinking --thread -a --attach --cells --interact --map --max-cost --via " +
    "-f --format -o --out --schema --tools --approve --stop --set --replay"
  ).split(" ");
  const MAGIC = /^%%?claude(?!\S)(\s+[\p{L}_][\p{L}\p{N}_]*\s*<<)?/u;
  const WORD = /\s*(-\S+)/y;
  const VALUE =
    /(?:=|\s+(?!-\D))(?:[^\s"'=]+=(?=["']))?(?:"(?:\\["\\]|[^"])*"?|'(?:\\['\\]|[^'])*'?|\S+)/y;
  const FENCE = /^ {0,3}(`{3,}(?!.*`)|~{3,}) *(.*)/;
  const BLOCK = /^( {0,24})((#{1,6} +)|(?:[-*+]|\d{1,9}[.)]) +|> ?)?/;
  const BRACES = /(?<!\{)\{\{(?![{%#])(?:(?!\{\{|\n\s*\n)[^]){1,1000}?\}\}/g;

  const faint = "rgba(128, 128, 128, .1)";
  const color = (name) => ({ color: `var(--jp-mirror-editor-${name}-color)` });
  const STYLE = {
    // Without the colours of code in any theme; CodeMirror generates their class names.
    '.claude-line [class^="ͼ"], .claude-line .cm-builtin, .claude-line .cm-nonmatchingBracket': { all: "unset" },
    ".claude-magic": { ...color("operator"), fontWeight: "bold" },
    ".claude-option": color("property"),
    ".claude-value": color("string-2"),
    ".claude-unknown": { textDecoration: "underline wavy var(--jp-mirror-editor-error-color)" },
    ".claude-braces": { ...color("property"), background: faint, borderRadius: "3px" },
    ".claude-heading": { fontWeight: "bold" },
    ".claude-fence": { background: faint },
    ".claude-dim": { color: "var(--jp-ui-font-color2)" },
    ".cm-line.claude-hang": { paddingLeft: "calc(6px + var(--hang))", textIndent: "calc(-1 * var(--hang))" },
  };

  // Returns the parts of an option line as [start, end, kind], parsed as in notebook/_line.py.
  function readOptions(text) {
    let at = MAGIC.exec(text)[0].length;
    const end = text.indexOf("e") + 1;
    const parts = [[0, end, "magic"], [end, at, "value"]];
    const match = (pattern) => ((pattern.lastIndex = at), pattern.exec(text));
    for (let found, word; word !== "--" && (found = match(WORD)); ) {
      word = found[1];
      const [name] = word.split("=");
      const isValued = VALUED.includes(name) && (name === word || name[1] === "-");
      const start = WORD.lastIndex - word.length;
      at = start + (isValued ? name : word).length;
      parts.push([start, at, isValued || FLAGS.includes(word) ? "option" : "unknown"]);
      const value = isValued && match(VALUE);
      if (value) parts.push([at, (at += value[0].length), "value"]);
    }
    return parts;
  }

  async function makePlugin() {
    const { Compartment, EditorState, Prec } = await take("codemirror/state");
    const { Decoration, EditorView, ViewPlugin, keymap } = await take("codemirror/view");
    const { indentService } = await take("codemirror/language");
    const { EditorExtensionRegistry, IEditorExtensionRegistry } = await take("jupyterlab/codemirror");
    const { ISettingRegistry } = await take("jupyterlab/settingregistry");

    function decorate({ hasFocus, state, visibleRanges }) {
      const { doc } = state;
      let first = doc.line(1);
      while (!first.text.trim()) first = doc.line(first.number + 1);
      const parts = readOptions(first.text);
      const isRaw = parts.some(([from, to]) => first.text.slice(from, to) === "--raw");
      const found = [];
      const line = (from, kinds, attributes) =>
        found.push(Decoration.line({ class: `claude-line ${kinds}`, attributes }).range(from));
      const mark = (from, to, kind, attributes) =>
        found.push(Decoration.mark({ class: `claude-${kind}`, attributes }).range(from, to));
      let open = "";
      const pass = (text) => {
        const [, ticks, info] = FENCE.exec(text) ?? [];
        if (ticks && !open) open = ticks;
        else if (ticks?.startsWith(open) && !info) open = "";
      };
      let number = 1;
      for (const { from, to } of visibleRanges) {
        const top = doc.lineAt(from).number;
        // Whether a line is inside a fence depends on all lines above it.
        if (number < top) for (const text of doc.iterLines(number, top)) pass(text);
        for (number = Math.max(number, top); number <= doc.lineAt(to).number; number++) {
          const { from: start, text } = doc.line(number);
          const wasOpen = open;
          pass(text);
          if (start < first.from) continue;
          if (start === first.from) {
            line(start, "claude-options");
            for (const [a, b, kind] of parts) {
              const isWrong = kind === "unknown";
              // A word that is still being typed is not marked.
              const isTyped = isWrong && hasFocus && state.selection.main.head === start + b;
              if (a < b && !isTyped) mark(start + a, start + b, kind, isWrong && { title: "There is no such option" });
            }
          } else if (open || wasOpen) {
            line(start, `claude-fence${open && wasOpen ? "" : " claude-dim"}`);
          } else {
            const [{ length }, { length: indent }, marker, isHeading] = BLOCK.exec(text);
            line(start, `claude-${isHeading ? "heading" : "hang"}`, { style: `--hang: ${length}ch` });
            if (marker) mark(start + indent, start + length, "dim");
          }
        }
        if (!isRaw)
          for (const { 0: { length }, index } of doc.sliceString(from, to).matchAll(BRACES))
            mark(from + index, from + index + length, "braces");
      }
      return Decoration.set(found, true);
    }

    // Between two brackets, Lab's own Enter would add a line. Does not handle Enter while the completer is open.
    const enter = ({ dispatch, dom, state }) => {
      const { from, to } = state.selection.main;
      const isBetween = /^(\(\)|\[\]|\{\})$/.test(state.sliceDoc(from - 1, to + 1));
      if (!isBetween || state.readOnly || dom.closest(".jp-mod-completer-active")) return false;
      dispatch(state.replaceSelection(state.lineBreak));
      return true;
    };
    const prose = [
      Prec.highest(keymap.of([{ key: "Enter", run: enter }])),
      // Null keeps the indentation of the line above, as lists need.
      Prec.highest(indentService.of(() => null)),
      Prec.highest(EditorState.languageData.of(() => [{ closeBrackets: { brackets: [] } }])),
      // Decorations of the lowest precedence are outermost: around the spans of Python's colours, so that a mark is not split.
      Prec.lowest(EditorView.decorations.of(decorate)),
      EditorView.lineWrapping,
      EditorView.baseTheme(STYLE),
    ];

    const part = new Compartment();
    const editors = new Set();
    const code = [];
    let isOn = true;
    function wanted(lines) {
      let found = code;
      for (const line of lines) {
        if (!line.trim()) continue;
        if (found === prose || !isOn || !MAGIC.test(line)) return code;
        found = prose;
        if (line[1] === "%") break;
      }
      return found;
    }
    // In other cells, this look at the first line after a change is all that runs.
    const toggle = EditorState.transactionExtender.of(({ docChanged, newDoc, startState }) => {
      const now = part.get(startState);
      const next = docChanged ? wanted(newDoc.iterLines()) : now;
      return now === next ? null : { effects: part.reconfigure(next) };
    });
    const keep = ViewPlugin.define((editor) => (editors.add(editor), { destroy: () => editors.delete(editor) }));
    function factory({ model }) {
      if (model?.type !== "code") return null;
      const start = wanted(model.sharedModel.getSource().split("\n"));
      return EditorExtensionRegistry.createImmutableExtension([part.of(start), toggle, keep]);
    }
    function follow({ composite }) {
      isOn = composite.prose !== false;
      for (const each of editors) each.dispatch({ effects: part.reconfigure(wanted(each.state.doc.iterLines())) });
    }
    return {
      id: "claude-magic:prompts",
      autoStart: true,
      optional: [IEditorExtensionRegistry, ISettingRegistry],
      activate(_app, registry, settings) {
        registry?.addExtension({ name: "claude-magic", factory });
        settings?.load("claude-magic:prompts").then((own) => (own.changed.connect(follow), follow(own)), () => {});
      },
    };
  }

  let scope;
  // Returns the version of a shared module that Lab uses: the loaded one, else the newest.
  const take = async (name) => {
    const [[, shared]] = Object.entries(scope[`@${name}`]).sort(
      ([a, { loaded: isA }], [b, { loaded: isB }]) => !!isB - !!isA || b.localeCompare(a, "en", { numeric: true }),
    );
    return (await shared.get())();
  };

  (window._JUPYTERLAB ??= {})["claude-magic"] = {
    init: (shared) => void (scope = shared),
    // If a module is missing, prompts look as without this extension.
    get: () => makePlugin().then((plugin) => () => [plugin], () => () => []),
  };
})();
