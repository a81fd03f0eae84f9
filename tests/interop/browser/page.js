// A phone in a page: JsSIP does what the test says over a WebSocket, and tells what happens.
'use strict';

const JsSIP = require('jssip');

const control = new WebSocket(`ws://127.0.0.1:${new URLSearchParams(location.search).get('control')}/`);
const say = (event, more = {}) => control.send(JSON.stringify({ event, ...more }));

let ua = null;
let session = null;
let ears = null;

const sound = new AudioContext({ sampleRate: 48000 });

// A microphone that hears one tone.
function microphone(hz) {
  const oscillator = sound.createOscillator();
  oscillator.frequency.value = hz;
  const gain = sound.createGain();
  gain.gain.value = 0.4;
  const out = sound.createMediaStreamDestination();
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return out.stream;
}

// Listens to what comes: an audio element starts the stream, an analyser looks at it.
function listen(connection) {
  connection.addEventListener('track', (event) => {
    const stream = event.streams[0] || new MediaStream([event.track]);
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => {});
    ears = sound.createAnalyser();
    ears.fftSize = 8192;
    ears.smoothingTimeConstant = 0;
    sound.createMediaStreamSource(stream).connect(ears);
  });
}

// The loudest frequency, hertz, and its level, decibels.
function hear() {
  if (!ears) return { hz: 0, level: -200 };
  const bins = new Float32Array(ears.frequencyBinCount);
  ears.getFloatFrequencyData(bins);
  let best = 1;
  for (let n = 1; n < bins.length; n += 1) if (bins[n] > bins[best]) best = n;
  const level = Number.isFinite(bins[best]) ? bins[best] : -200;
  return { hz: (best * sound.sampleRate) / ears.fftSize, level };
}

function follow(call) {
  session = call;
  ears = null;
  call.on('peerconnection', ({ peerconnection }) => listen(peerconnection));
  if (call.connection) listen(call.connection);
  call.on('progress', () => say('progress'));
  call.on('confirmed', () => say('confirmed'));
  call.on('ended', ({ originator, cause }) => say('ended', { originator, cause }));
  call.on('failed', ({ originator, cause, message }) =>
    say('failed', { originator, cause, status: (message && message.status_code) || 0 }));
  call.on('hold', ({ originator }) => say('hold', { originator }));
  call.on('unhold', ({ originator }) => say('unhold', { originator }));
  call.on('newDTMF', ({ originator, dtmf }) => say('dtmf', { originator, tone: dtmf.tone }));
}

const options = (hz) => ({
  mediaStream: microphone(hz),
  mediaConstraints: { audio: true, video: false },
  pcConfig: { iceServers: [] },
});

const does = {
  start({ url, uri, password, instance, authorization }) {
    ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri,
      password,
      instance_id: instance,
      authorization_user: authorization,
      register_expires: 120,
      session_timers: false,
    });
    ua.on('connected', () => say('connected'));
    ua.on('disconnected', ({ code, reason }) => say('disconnected', { code, reason }));
    ua.on('registered', () => say('registered'));
    ua.on('unregistered', () => say('unregistered'));
    ua.on('registrationFailed', ({ cause }) => say('registrationFailed', { cause }));
    ua.on('newRTCSession', ({ originator, session: call, request }) => {
      if (originator !== 'remote') return;
      follow(call);
      say('incoming', { from: request.from.uri.user });
    });
    ua.start();
  },
  call: ({ target, hz, headers }) => follow(ua.call(target, { ...options(hz), extraHeaders: headers || [] })),
  answer: ({ hz }) => session.answer(options(hz)),
  hang_up: () => session.terminate(),
  dtmf: ({ tones, by }) =>
    session.sendDTMF(tones, {
      duration: 120,
      transportType: by === 'info' ? JsSIP.C.DTMF_TRANSPORT.INFO : JsSIP.C.DTMF_TRANSPORT.RFC2833,
    }),
  hold: ({ on }) => (on ? session.hold() : session.unhold()),
  mute: ({ on }) => (on ? session.mute() : session.unmute()),
  refer({ target }) {
    session.refer(target, {
      eventHandlers: {
        accepted: () => say('referAccepted'),
        failed: () => say('referFailed'),
        requestFailed: ({ cause }) => say('referRefused', { cause }),
        requestSucceeded: () => say('referTaken'),
      },
    });
  },
  hear,
  // What a Replaces header says to have this call again (RFC 3891).
  dialog() {
    const { call_id, local_tag, remote_tag } = session._dialog.id;
    return `${call_id};to-tag=${remote_tag};from-tag=${local_tag}`;
  },
  stop: () => ua.stop(),
  reload: () => setTimeout(() => location.reload(), 0),
};

control.onopen = () => say('loaded');
control.onmessage = async ({ data }) => {
  const { id, act, ...more } = JSON.parse(data);
  try {
    await sound.resume();
    const value = does[act](more);
    control.send(JSON.stringify({ reply: id, value: value === undefined || act === 'call' ? null : value }));
  } catch (error) {
    control.send(JSON.stringify({ reply: id, error: String((error && error.stack) || error) }));
  }
};
