// Everything works without this script. It adds: dropping and pasting of pictures, live cameras, and answers and states
// that arrive without reloading. The server renders all text; the script only puts fresh pieces of a page in place.
"use strict";

const root = document.body.dataset.root;
document.documentElement.classList.add("has-script");

// Try: a picture that is chosen, dropped or pasted is sent with the form at once.

const form = document.getElementById("upload");

function send(file) {
  const state = document.getElementById("upload-state");
  if (!file || (file.type && !file.type.startsWith("image/"))) {
    state.textContent = form.dataset.noImage;
    return;
  }
  if (file.size > Number(form.dataset.most)) {
    state.textContent = form.dataset.tooLarge;
    return;
  }
  const files = new DataTransfer();
  files.items.add(file);
  document.getElementById("photo").value = "";
  document.getElementById("file").files = files.files;
  state.textContent = form.dataset.busy;
  form.setAttribute("aria-busy", "true");
  form.submit();
}

if (form) {
  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => input.files.length && send(input.files[0]));
  }
  let depth = 0; // of the elements that a dragged file has entered
  const carriesFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    form.classList.toggle("is-over", depth > 0);
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && mark(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && mark(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    mark(-depth);
    send(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData ? event.clipboardData.files : [])][0];
    if (file) {
      event.preventDefault();
      send(file);
    }
  });
  addEventListener("pageshow", () => {
    // Also when the browser comes back to this page.
    form.removeAttribute("aria-busy");
    document.getElementById("upload-state").textContent = "";
  });
}

// Fresh pieces: every element with data-live is replaced by the one with its id in the page as it is now.

async function freshPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function replaceLive(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now || now.innerHTML === old.innerHTML || old.contains(document.activeElement)) continue;
    old.replaceChildren(...document.importNode(now, true).childNodes);
    if (now.dataset.state) old.dataset.state = now.dataset.state;
  }
}

let isRefreshing = false;

async function refresh() {
  if (isRefreshing || document.hidden) return;
  isRefreshing = true;
  try {
    const fresh = await freshPage();
    replaceCameras(fresh);
    replaceLive(fresh);
    addAnswers(fresh);
    document.documentElement.classList.remove("is-offline");
  } catch {
    document.documentElement.classList.add("is-offline"); // what is shown may be old
  } finally {
    isRefreshing = false;
  }
}

const seconds = Number(document.body.dataset.refresh || 0);
if (seconds) setInterval(refresh, seconds * 1000);

// History: new answers appear at the top, and a screen reader announces their number.

const answers = document.getElementById("answers");

function addAnswers(fresh) {
  const now = fresh.getElementById("answers");
  if (!answers || !now || !("newest" in answers.dataset)) return;
  const known = new Set([...answers.children].map((one) => one.id));
  const added = [...now.children].filter((one) => !known.has(one.id));
  if (!added.length) return;
  const most = Math.max(answers.children.length, now.children.length);
  for (const one of added.reverse()) {
    const item = document.importNode(one, true);
    item.classList.add("is-new");
    answers.prepend(item);
  }
  while (answers.children.length > most && !answers.lastElementChild.contains(document.activeElement)) {
    answers.lastElementChild.remove();
  }
  const announcement = document.getElementById("announcement");
  announcement.textContent =
    added.length === 1 ? announcement.dataset.one : announcement.dataset.many.replace("{count}", added.length);
}

const filters = document.querySelector(".filter-box[data-closes]");
if (filters) {
  const narrow = matchMedia("(max-width: 44rem)");
  const fit = () => (filters.open = !narrow.matches);
  narrow.addEventListener("change", fit);
  fit();
}

if (answers && "newest" in answers.dataset) {
  let stream = null;
  let timer = 0;
  const soon = () => {
    if (!timer) {
      timer = setTimeout(() => {
        timer = 0;
        refresh();
      }, 400); // many answers may come at once
    }
  };
  const follow = () => {
    // A browser has six connections for all its windows on a host: only those that are looked at hold one.
    if (document.hidden && stream) {
      stream.close();
      stream = null;
    } else if (!document.hidden && !stream) {
      stream = new EventSource(`${root}api/v1/events`);
      stream.addEventListener("answer", soon);
      soon();
    }
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

// Cameras: the latest frame of each card that is in sight, the next one when the last one has come.

function replaceCameras(fresh) {
  const list = document.getElementById("cameras");
  const now = fresh.getElementById("cameras");
  if (!list || !now) return;
  const ids = (parent) => [...parent.children].map((one) => one.dataset.camera).join();
  if (ids(list) !== ids(now)) {
    list.replaceChildren(...document.importNode(now, true).children);
    list.querySelectorAll("[data-frame]").forEach(animate);
    return;
  }
  [...now.children].forEach((one, index) => (list.children[index].className = one.className));
}

function animate(image) {
  let isInSight = false;
  let isAsked = false;
  const ask = () => {
    if (!isInSight || isAsked || document.hidden || !image.isConnected) return;
    isAsked = true;
    const next = new Image();
    const after = (milliseconds) => () => {
      isAsked = false;
      if (milliseconds === FRAME) image.src = next.src;
      setTimeout(ask, milliseconds);
    };
    next.onload = after(FRAME);
    next.onerror = after(LOST);
    next.src = `${image.dataset.frame}?at=${Date.now()}`;
  };
  new IntersectionObserver((entries) => {
    isInSight = entries.some((entry) => entry.isIntersecting);
    ask();
  }).observe(image);
  document.addEventListener("visibilitychange", ask);
}

const FRAME = 500;
const LOST = 3000;
document.querySelectorAll("[data-frame]").forEach(animate);
