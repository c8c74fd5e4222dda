// Lets the search run on pages opened from a folder, where browsers refuse to start workers:
// the worker's script runs in a hidden frame instead, and messages are passed by hand.
if (window.location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><html><body></body></html>";
      this.frame.addEventListener("load", () => this.start(new URL(url, document.baseURI).href), {
        once: true,
      });
      document.body.appendChild(this.frame);
    }

    start(url) {
      const inner = this.frame.contentWindow;
      // What the script posts to its parent comes out here.
      inner.postMessage = (data) => {
        const message = new MessageEvent("message", { data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      };
      // A worker loads scripts in order and waits for each; the search awaits what this returns.
      inner.importScripts = (...urls) =>
        urls.reduce((before, next) => before.then(() => this.load(next, url)), Promise.resolve());
      this.load(url, url).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.deliver(data));
      });
    }

    load(source, base) {
      return new Promise((resolve, reject) => {
        const script = this.frame.contentDocument.createElement("script");
        script.src = new URL(source, base).href;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`cannot load ${script.src}`));
        this.frame.contentDocument.body.appendChild(script);
      });
    }

    deliver(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.ready) this.deliver(data);
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
