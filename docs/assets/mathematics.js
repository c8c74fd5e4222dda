// Typesets the formulas of a page with the KaTeX beside this file. Pages without formulas load nothing.
// It is KaTeX 0.19.1 as `npm pack katex@0.19.1` gives it (MIT), with the woff2 fonts alone.
(() => {
  const formulas = document.querySelectorAll(".arithmatex");
  if (!formulas.length) return;
  const folder = new URL("katex/", document.currentScript.src);
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("katex.min.css", folder).href;
  const script = document.createElement("script");
  script.src = new URL("katex.min.js", folder).href;
  script.onload = () => {
    for (const formula of formulas) {
      const source = formula.textContent.trim();
      // Python-Markdown wraps them as \(…\) and \[…\].
      katex.render(source.slice(2, -2), formula, {
        displayMode: source.startsWith("\\["),
        throwOnError: false,
      });
    }
  };
  document.head.append(style, script);
})();
