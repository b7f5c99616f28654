// Browsers start no Worker for a page that was opened from the disk. There, the search of these
// pages runs in a hidden frame instead: as much of a Worker as it uses.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.ready = new Promise((ready) => {
        const frame = document.createElement("iframe");
        frame.hidden = true;
        frame.srcdoc = "<!doctype html>";
        frame.onload = () => {
          const inside = frame.contentWindow;
          const load = (one) =>
            new Promise((loaded) => {
              const script = inside.document.createElement("script");
              script.src = one;
              script.onload = loaded;
              inside.document.head.append(script);
            });
          inside.importScripts = (...urls) =>
            urls.reduce((before, one) => before.then(() => load(one)), Promise.resolve());
          inside.postMessage = (data) =>
            this.dispatchEvent(new MessageEvent("message", { data }));
          load(url).then(() => ready(inside));
        };
        document.body.append(frame);
      });
    }

    postMessage(data) {
      this.ready.then((inside) =>
        inside.dispatchEvent(new inside.MessageEvent("message", { data })),
      );
    }
  };
}
