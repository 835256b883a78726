(() => {
  const source = document.querySelector("[data-events]");
  if (!source || !window.EventSource) return;
  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(old.id);
        if (next && !old.contains(document.activeElement)) old.replaceWith(next);
      }
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  };
  new EventSource(source.dataset.events).onmessage = refresh;
})();
