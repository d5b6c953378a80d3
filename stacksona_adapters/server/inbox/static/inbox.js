// Keyboard, selection, local times and the sign-in link. Without it every page still works by links and forms.
"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // The secret of a sign-in link stands behind "#": it reaches the gate only when the person presses the button.
  function takeLink() {
    const form = one("#by-link");
    const secret = location.hash.slice(1);
    if (!form || !/^[A-Za-z0-9_-]{20,200}$/.test(secret)) return;
    history.replaceState(null, "", location.pathname + location.search);
    one("#link-secret").value = secret;
    form.hidden = false;
    one("#by-hand").hidden = true;
    one("button", form).focus();
  }

  function localTimes(root) {
    for (const tag of all("time[datetime]", root)) {
      const at = new Date(tag.dateTime);
      if (!Number.isNaN(at.valueOf())) tag.title = at.toLocaleString(undefined, { dateStyle: "full", timeStyle: "medium" });
    }
  }

  // Several at once
  function countChosen() {
    const bar = one("#several");
    if (!bar) return;
    const chosen = all('input[name="chosen"]:checked').length;
    bar.classList.toggle("some", chosen > 0);
    const said = chosen ? `${chosen} chosen` : "";
    if (one(".several-count", bar).textContent !== said) one(".several-count", bar).textContent = said;
  }

  // Keyboard
  const rows = () => all("#list .row");
  let here = null;
  function move(step) {
    const listed = rows();
    if (!listed.length) return;
    const at = listed.findIndex((row) => row.id === here);
    const row = listed[Math.max(0, Math.min(listed.length - 1, at + step))];
    here = row.id;
    mark();
    one("a.to", row).focus();
    row.scrollIntoView({ block: "nearest" });
  }
  function mark() {
    for (const row of rows()) row.classList.toggle("here", row.id === here);
  }
  function press(key) {
    const target = one(`[data-key="${key}"]`);
    if (!target) return false;
    if (target.tagName === "DETAILS") {
      target.open = true;
      (one("textarea:not([hidden]), input:not([type=hidden]), select", target) || one("summary", target)).focus();
    } else if (target.tagName === "A") target.click();
    else target.focus();
    target.scrollIntoView({ block: "nearest" });
    return true;
  }
  function folder(number) {
    const link = all("#folders a")[number - 1];
    if (link) link.click();
    return Boolean(link);
  }
  function choose() {
    const box = here && one("input[type=checkbox]", document.getElementById(here));
    if (box) box.click();
    return Boolean(box);
  }
  function help() {
    const sheet = one("#help");
    if (sheet && !sheet.open) sheet.showModal();
    return Boolean(sheet);
  }
  const keys = {
    j: () => move(1) ?? true,
    k: () => move(-1) ?? true,
    x: choose,
    "/": () => (one("#q")?.focus(), Boolean(one("#q"))),
    "?": help,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || one("dialog[open]")) return;
    const within = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (within) {
      if (event.key === "Escape") within.blur();
      return;
    }
    const act = keys[event.key] ?? (/^[1-7]$/.test(event.key) ? () => folder(Number(event.key)) : null);
    const done = act ? act() : /^[a-z]$/.test(event.key) && press(event.key);
    if (done) event.preventDefault();
  });

  document.addEventListener("change", countChosen);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-help]")) help();
  });
  document.addEventListener("focusin", (event) => {
    const row = event.target.closest?.("#list .row");
    if (row) {
      here = row.id;
      mark();
    }
  });
  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (event.submitter?.matches("[data-again]")) return; // a download leaves the page as it is
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => {
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
  });
  document.addEventListener("htmx:after:swap", () => {
    localTimes(document);
    mark();
    countChosen();
  });
  if (matchMedia("(max-width: 40rem)").matches) for (const fold of all("details[data-narrow]")) fold.open = false;
  // The button that leads to the decision is in nobody's way once the decision is in sight.
  const jump = one(".jump");
  if (jump) new IntersectionObserver(([seen]) => (jump.hidden = seen.isIntersecting)).observe(one("#decision"));
  // The session ended while the page was open.
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail?.status === 401) location.assign(`/inbox/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  });
  for (const button of all("[data-help]")) button.hidden = false;
  takeLink();
  localTimes(document);
  countChosen();
})();
