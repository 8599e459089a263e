// The browser side of the gauge. Loaded after `display/_page.js`, whose functions it uses.

export default {
  render({ model, el }) {
    const forgetKernel = watchKernel(model, (reason) => lose(el.closest(".claude-magic-gauge"), reason));
    return forgetKernel;
  },
};
