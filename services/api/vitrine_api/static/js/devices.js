// Camera and microphone: a panel under the field, with a word for every way in which they can be away.

const BITS = 16;
const MAX_SECONDS = 300;
const REFUSED = {
  NotAllowedError: "is blocked for this page. Allow it in the browser (the sign beside the address), then try again.",
  NotFoundError: "was not found. Connect one and try again, or choose a file.",
  NotReadableError: "is in use by another program. Close that one and try again.",
  OverconstrainedError: "cannot do what is asked of it. Choose a file instead.",
};

function make(tag, words = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = words;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function say(text) {
  document.dispatchEvent(new CustomEvent("vitrine:say", { detail: text }));
}

class Device {
  constructor(field, opener, name) {
    this.field = field;
    this.opener = opener;
    this.name = name;
    this.panel = field.querySelector("[data-device]");
    this.stream = null;
    if (!navigator.mediaDevices?.getUserMedia) opener.hidden = true;
    else opener.addEventListener("click", () => this.open());
  }

  async open() {
    if (this.stream) return;
    this.tell(`Asking for the ${this.name} …`);
    try {
      this.stream = await navigator.mediaDevices.getUserMedia(this.wish());
      this.begin();
    } catch (error) {
      this.tell(`The ${this.name} ${REFUSED[error.name] ?? "does not answer. Choose a file instead."}`);
      this.panel.append(this.button("Close", () => this.close()));
    }
  }

  tell(words) {
    this.panel.replaceChildren(make("p", words, { class: "device-words" }));
    this.panel.hidden = false;
    say(words);
  }

  button(words, act, kind = "") {
    const button = make("button", words, { type: "button", class: `small ${kind}` });
    button.addEventListener("click", act);
    return button;
  }

  give(file) {
    this.field.dispatchEvent(new CustomEvent("vitrine:file", { detail: file }));
    this.close();
    say(`${file.name} is filled in.`);
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.panel.hidden = true;
    this.panel.replaceChildren();
    this.opener.focus();
  }
}

class Camera extends Device {
  facing = "environment";

  wish() {
    return { video: { facingMode: this.facing, width: { ideal: 1920 } } };
  }

  begin() {
    this.video = make("video", "", { class: "device-view", "aria-label": "What the camera sees", playsinline: "" });
    this.video.muted = true;
    this.video.srcObject = this.stream;
    const take = this.button("Take the picture", () => this.take(), "primary");
    take.disabled = true;
    this.video.addEventListener("loadeddata", () => { take.disabled = false; take.focus(); });
    this.panel.replaceChildren(this.video, take, this.button("Other camera", () => this.turn()), this.button("Cancel", () => this.close()));
    this.video.play();
  }

  turn() {
    this.facing = this.facing === "environment" ? "user" : "environment";
    this.close();
    this.open();
  }

  take() {
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    const accept = this.field.querySelector("input[type=file]").accept;
    const type = !accept || /jpe?g|image\/\*/.test(accept) ? "image/jpeg" : "image/png";
    canvas.toBlob((blob) => this.give(new File([blob], `photo.${type.slice(6).replace("jpeg", "jpg")}`, { type })), type, 0.92);
  }
}

class Microphone extends Device {
  wish() {
    return { audio: true };
  }

  begin() {
    const parts = [];
    const began = performance.now();
    const clock = make("p", "Recording: 0 s", { class: "device-words" });
    const recorder = new MediaRecorder(this.stream);
    const timer = setInterval(() => {
      const seconds = Math.floor((performance.now() - began) / 1000);
      clock.textContent = `Recording: ${seconds} s`;
      if (seconds >= MAX_SECONDS && recorder.state !== "inactive") recorder.stop();
    }, 250);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", async () => {
      clearInterval(timer);
      if (!this.discarded) this.give(await this.fileOf(new Blob(parts, { type: recorder.mimeType })));
      else this.close();
    });
    this.discarded = false;
    const stop = this.button("Stop and keep", () => recorder.stop(), "primary");
    this.panel.replaceChildren(clock, stop, this.button("Cancel", () => { this.discarded = true; recorder.stop(); }));
    recorder.start();
    stop.focus();
    say("Recording.");
  }

  // WAV is what programs read without further ado; what was recorded is kept where WAV is not taken.
  async fileOf(blob) {
    const accept = this.field.querySelector("input[type=file]").accept;
    if (accept && !/wav|audio\/\*/.test(accept)) {
      const ending = blob.type.includes("mp4") ? "m4a" : blob.type.includes("ogg") ? "ogg" : "webm";
      return new File([blob], `recording.${ending}`, { type: blob.type.split(";")[0] });
    }
    const context = new AudioContext();
    const sound = await context.decodeAudioData(await blob.arrayBuffer());
    await context.close();
    return new File([wav(sound)], "recording.wav", { type: "audio/wav" });
  }
}

// RIFF WAVE, PCM with 16 bits, one channel.
function wav(sound) {
  const samples = sound.getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const write = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + samples.length * 2, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true);
  view.setUint32(28, sound.sampleRate * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, BITS, true);
  write(36, "data");
  view.setUint32(40, samples.length * 2, true);
  samples.forEach((value, index) => view.setInt16(44 + index * 2, Math.max(-1, Math.min(1, value)) * 32767, true));
  return view.buffer;
}

for (const field of document.querySelectorAll("[data-file-field]")) {
  const camera = field.querySelector("[data-camera]");
  const microphone = field.querySelector("[data-microphone]");
  if (camera) new Camera(field, camera, "camera");
  if (microphone) new Microphone(field, microphone, "microphone");
}
