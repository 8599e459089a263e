// The browser side of `--interact`. Loaded after `display/_page.js`, whose functions it uses.

export default {
  render({ model, el }) {
    const root = () => el.closest(".claude-magic-interact");
    const watch = new MutationObserver(() => nameSliders(root()));
    const forgetKernel = watchKernel(model, (reason) => lose(root(), reason));
    let frame = requestAnimationFrame(function attach() {
      if (!root()) return (frame = requestAnimationFrame(attach));
      watch.observe(root(), { childList: true, subtree: true });
      nameSliders(root());
    });
    return () => {
      cancelAnimationFrame(frame);
      watch.disconnect();
      forgetKernel();
    };
  },
};

// Sets the accessible names of sliders and of the fields next to them, which ipywidgets does not set.
function nameSliders(root) {
  for (const slider of root?.querySelectorAll(".widget-slider") ?? []) {
    const name = slider.querySelector(".widget-label")?.textContent ?? "";
    const handles = slider.querySelectorAll(".noUi-handle:not([aria-label])");
    handles.forEach((handle, index) =>
      handle.setAttribute("aria-label", handles.length === 1 ? name : `${name}, ${index ? "largest" : "smallest"}`),
    );
    const readout = slider.querySelector(".widget-readout:not([aria-label])");
    readout?.setAttribute("role", "textbox");
    readout?.setAttribute("aria-label", `${name}, value`);
  }
}
