use super::super::format::tests::{frames, header};
use super::super::format::write_end;
use super::super::tests::{Scratch, leftovers};
use super::*;
use hotline_wire::recording::{ChannelLaw, GapReason, chain_input};
use sha2::{Digest, Sha256};

const CONFIG: UploaderConfig = UploaderConfig {
    chunk_frames: 25,
    parallel: 8,
    retry_min_ms: 500,
    retry_max_ms: 4_000,
    keep_until_confirmed: false,
};

/// Object storage in memory.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Bytes>,
    puts: usize,
}

impl Store {
    /// Uploads until nothing is left to do.
    fn run(&mut self, uploader: &mut Uploader) -> Vec<UploadEvent> {
        while let Some(work) = uploader.next_work(0) {
            self.puts += 1;
            self.objects.insert(work.key, work.body);
            uploader.work_done(work.id, Ok(()), 0);
        }
        uploader.take_events()
    }

    fn manifest(&self) -> Manifest {
        let meta = header(2).meta;
        serde_json::from_slice(&self.objects[&manifest_key(meta.tenant, meta.contact, meta.recording)]).unwrap()
    }

    /// Checks what the manifest says against the objects and joins the audio.
    fn audio(&self) -> Vec<u8> {
        let (manifest, mut audio, mut chain) = (self.manifest(), Vec::new(), String::new());
        for (seq, chunk) in manifest.chunks.iter().enumerate() {
            let body = &self.objects[&chunk.key];
            assert_eq!((chunk.seq as usize, chunk.bytes as usize), (seq, body.len()));
            assert_eq!(chunk.offset_ms * 16, audio.len() as u64);
            assert_eq!(chunk.duration_ms * 16, chunk.bytes);
            assert_eq!(chunk.sha256, hex::encode(Sha256::digest(body)));
            chain = hex::encode(Sha256::digest(chain_input(&chain, &chunk.sha256)));
            assert_eq!(chunk.chain, chain);
            audio.extend_from_slice(body);
        }
        audio
    }
}

/// A spool file as a live recording writes it.
struct Live {
    spool: Arc<Spool>,
    path: PathBuf,
    frame: u32,
}

impl Live {
    fn start(scratch: &Scratch) -> Live {
        let mut live = Live::begun(scratch);
        live.append(&header(2).to_bytes());
        live
    }

    /// Known, and not written yet.
    fn begun(scratch: &Scratch) -> Live {
        let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
        let path = scratch.0.join("call.spool");
        assert!(spool.begin(&path));
        Live { spool, path, frame: 0 }
    }

    fn append(&mut self, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        self.spool.wrote(&self.path, bytes.len() as u64);
    }

    /// Records of ten frames; each frame's bytes are its number.
    fn speak(&mut self, count: u32, flags: u8) {
        for _ in 0..count {
            let bytes = frames(self.frame, 1, 2, flags, self.frame as u8);
            self.append(&bytes);
            self.frame += 1;
        }
    }

    fn end(&mut self) {
        let mut bytes = Vec::new();
        write_end(&mut bytes, self.frame, None);
        self.append(&bytes);
        self.spool.close(&self.path, None);
    }
}

fn expected(frames: std::ops::Range<u32>) -> Vec<u8> {
    frames.flat_map(|frame| [frame as u8; 320]).collect()
}

#[test]
fn a_recording_that_has_just_begun_is_not_taken_for_a_torn_one() {
    let scratch = Scratch::new();
    let mut live = Live::begun(&scratch);
    let (mut store, mut uploader) = (Store::default(), Uploader::new(live.spool.clone(), CONFIG));
    assert_eq!((store.run(&mut uploader), uploader.pending()), (vec![], 1), "there is no file yet");
    let header = header(2).to_bytes();
    let (front, rest) = header.split_at(5);
    live.append(front);
    assert_eq!((store.run(&mut uploader), uploader.pending()), (vec![], 1), "half of its header is there");
    live.append(rest);
    live.speak(5, 0);
    live.end();
    store.run(&mut uploader);
    assert_eq!((store.manifest().complete, store.audio()), (true, expected(0..5)));
}

#[test]
fn chunks_leave_during_the_call_and_the_rest_at_its_end() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    let (mut store, mut uploader) = (Store::default(), Uploader::new(live.spool.clone(), CONFIG));
    live.speak(24, 0);
    assert!(store.run(&mut uploader).is_empty());
    assert!(store.objects.is_empty());
    live.speak(40, 0);
    store.run(&mut uploader);
    assert_eq!((store.manifest().chunks.len(), store.manifest().complete), (2, false));
    live.speak(6, 0);
    live.end();
    let events = store.run(&mut uploader);
    let meta = header(2).meta;
    assert_eq!(
        events,
        [UploadEvent::Complete {
            tenant: meta.tenant,
            contact: meta.contact,
            recording: meta.recording,
            manifest: manifest_key(meta.tenant, meta.contact, meta.recording),
            duration_ms: 1_400,
            failure: None
        }]
    );
    assert_eq!(store.audio(), expected(0..70));
    let manifest = store.manifest();
    assert!(manifest.complete && manifest.gaps.is_empty());
    assert_eq!(manifest.ended, Some(RecordingEnd { duration_ms: 1_400, failure: None }));
    assert_eq!(manifest.channels[1].law, ChannelLaw::Mu);
    assert_eq!(leftovers(&scratch.0), 0);
    assert_eq!((live.spool.used_bytes(), uploader.pending()), (0, 0));
}

#[test]
fn records_that_straddle_chunks_lose_and_repeat_nothing() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    for first in (0..91).step_by(7) {
        let mut bytes = Vec::new();
        let at = super::super::format::start_frames(&mut bytes, first);
        for frame in first..first + 7 {
            bytes.push(0);
            bytes.extend([frame as u8; 320]);
        }
        super::super::format::finish_record(&mut bytes, at);
        live.append(&bytes);
    }
    live.frame = 91;
    live.end();
    let mut store = Store::default();
    store.run(&mut Uploader::new(live.spool.clone(), CONFIG));
    assert_eq!(store.audio(), expected(0..91));
    assert_eq!(store.manifest().chunks.iter().map(|chunk| chunk.duration_ms).collect::<Vec<_>>(), [500, 500, 500, 320]);
}

#[test]
fn a_recording_of_whole_chunks_ends_without_an_empty_one() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    live.speak(50, 0);
    let (mut store, mut uploader) = (Store::default(), Uploader::new(live.spool.clone(), CONFIG));
    store.run(&mut uploader);
    live.end();
    assert_eq!(store.run(&mut uploader).len(), 1);
    assert_eq!(store.manifest().chunks.len(), 2);
    assert!(store.manifest().complete);
}

#[test]
fn after_a_crash_all_but_the_torn_tail_is_uploaded_and_nothing_twice() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    let (mut store, mut uploader) = (Store::default(), Uploader::new(live.spool.clone(), CONFIG));
    live.speak(60, 0);
    store.run(&mut uploader);
    live.speak(10, 0);
    let torn = frames(70, 1, 2, 0, 70);
    live.append(&torn[..200]);
    drop((uploader, live));
    let before = store.puts;
    let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
    assert!(spool.used_bytes() > 0);
    let events = store.run(&mut Uploader::new(spool, CONFIG));
    assert_eq!(store.audio(), expected(0..70));
    let end = store.manifest().ended.unwrap();
    assert_eq!(end.duration_ms, 1_400);
    assert!(end.failure.unwrap().contains("stopped during the recording"));
    assert!(matches!(&events[..], [UploadEvent::Complete { failure: Some(_), .. }]));
    // The manifest once more, the last chunk, the last manifest.
    assert_eq!(store.puts - before, 3);
    assert_eq!(leftovers(&scratch.0), 0);
}

#[test]
fn storage_that_is_away_is_tried_again_later_and_loses_nothing() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    live.speak(30, 0);
    live.end();
    let mut uploader = Uploader::new(live.spool.clone(), CONFIG);
    let mut now = 0;
    for pause in [500, 1_000, 2_000, 4_000, 4_000, 4_000] {
        let work = uploader.next_work(now).unwrap();
        assert!(uploader.next_work(now).is_none());
        uploader.work_done(work.id, Err("503".into()), now);
        assert!(uploader.next_work(now + pause - 1).is_none());
        now += pause;
    }
    let mut store = Store::default();
    while let Some(work) = uploader.next_work(now) {
        store.objects.insert(work.key, work.body);
        uploader.work_done(work.id, Ok(()), now);
    }
    assert_eq!(store.audio(), expected(0..30));
}

#[test]
fn ten_minutes_of_a_call_while_storage_is_away_are_all_there_in_the_end() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    let mut uploader = Uploader::new(live.spool.clone(), CONFIG);
    let mut tried = 0;
    for second in 0..600 {
        // Fewer frames than a second has: what counts is how long it takes.
        live.speak(5, 0);
        while let Some(work) = uploader.next_work(second * 1_000) {
            tried += 1;
            uploader.work_done(work.id, Err("no route to host".into()), second * 1_000);
        }
    }
    // Every four seconds at most, not with every chunk that is there.
    assert!((100..=200).contains(&tried), "{tried} tries");
    live.end();
    let mut store = Store::default();
    while let Some(work) = uploader.next_work(604_000) {
        store.objects.insert(work.key, work.body);
        uploader.work_done(work.id, Ok(()), 604_000);
    }
    assert_eq!(store.audio(), expected(0..3_000));
    assert_eq!(leftovers(&scratch.0), 0, "and the disk is empty again");
}

#[test]
fn gaps_and_masks_are_told_and_holes_are_silence() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    live.speak(20, 0);
    live.speak(10, 1);
    live.speak(5, 16 | 32);
    // The disk was too slow for five frames.
    live.frame += 5;
    live.speak(3, 0);
    live.end();
    let mut store = Store::default();
    store.run(&mut Uploader::new(live.spool.clone(), CONFIG));
    let told: Vec<_> =
        store.manifest().gaps.iter().map(|gap| (gap.channel, gap.offset_ms, gap.duration_ms, gap.reason)).collect();
    assert_eq!(
        told,
        [
            (0, 400, 200, GapReason::NoAudio),
            (0, 600, 100, GapReason::Paused),
            (1, 600, 100, GapReason::Paused),
            (0, 700, 100, GapReason::NoAudio),
            (1, 700, 100, GapReason::NoAudio),
        ]
    );
    let audio = store.audio();
    assert_eq!(audio.len(), 43 * 320);
    assert!(audio[35 * 320..40 * 320].iter().all(|byte| *byte == 0xFF));
}

#[test]
fn many_files_share_the_way_and_a_foreign_file_is_set_aside() {
    let scratch = Scratch::new();
    for index in 0..5u32 {
        let mut header = header(2);
        header.meta.recording = RecordingId::from_u128(u128::from(index) + 1);
        let mut bytes = header.to_bytes();
        bytes.extend(frames(0, 30, 2, 0, index as u8));
        write_end(&mut bytes, 30, None);
        fs::write(scratch.0.join(format!("{index}.spool")), bytes).unwrap();
    }
    fs::write(scratch.0.join("foreign.spool"), "hello").unwrap();
    fs::write(scratch.0.join("empty.spool"), "").unwrap();
    let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
    let mut uploader = Uploader::new(spool, UploaderConfig { parallel: 3, ..CONFIG });
    let flying: Vec<_> = std::iter::from_fn(|| uploader.next_work(0)).collect();
    assert_eq!(flying.len(), 3);
    assert!(flying.windows(2).all(|pair| pair[0].key != pair[1].key));
    for work in flying {
        uploader.work_done(work.id, Ok(()), 0);
    }
    let mut store = Store::default();
    let events = store.run(&mut uploader);
    assert_eq!(events.iter().filter(|event| matches!(event, UploadEvent::Complete { failure: None, .. })).count(), 5);
    assert_eq!(events.iter().filter(|event| matches!(event, UploadEvent::Unreadable { .. })).count(), 2);
    assert!(scratch.0.join("foreign.unreadable").exists());
}

#[test]
fn a_recording_nobody_confirmed_is_told_again_after_a_crash() {
    let scratch = Scratch::new();
    let mut live = Live::start(&scratch);
    live.speak(30, 0);
    live.end();
    let config = UploaderConfig { keep_until_confirmed: true, ..CONFIG };
    let (mut store, mut uploader) = (Store::default(), Uploader::new(live.spool.clone(), config));
    let first = store.run(&mut uploader);
    assert!(matches!(&first[..], [UploadEvent::Complete { failure: None, .. }]), "{first:?}");
    assert!(store.run(&mut uploader).is_empty());
    drop((uploader, live));
    let chunks = store.objects.clone();
    let mut uploader = Uploader::new(Spool::open(&scratch.0, u64::MAX, 0).unwrap(), config);
    assert_eq!(store.run(&mut uploader), first);
    assert_eq!(store.objects, chunks);
    uploader.confirm(RecordingId::from_u128(1));
    assert_eq!(uploader.pending(), 1);
    uploader.confirm(header(2).meta.recording);
    assert_eq!((uploader.pending(), leftovers(&scratch.0)), (0, 0));
}
