//! The published vectors, and what a hostile network does.

use super::cipher::{derive, key_stream};
use super::*;
use aes::Aes128;
use aes::cipher::KeyInit;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace(' ', "")).unwrap()
}

fn master(key: &str, salt: &str) -> MasterKey {
    MasterKey::new(Suite::Aes128Sha1Tag80, &bytes(key), &bytes(salt)).unwrap()
}

/// Appendix B.3; also the keys of the packets below.
fn appendix_b() -> MasterKey {
    master("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6")
}

fn pair(suite: Suite) -> (Srtp, Srtp) {
    let other = master("000102030405060708090a0b0c0d0e0f", "101112131415161718191a1b1c1d");
    let ours = SrtpKeys { suite, inbound: other.clone(), outbound: appendix_b() };
    let theirs = SrtpKeys { suite, inbound: appendix_b(), outbound: other };
    (Srtp::new(&ours), Srtp::new(&theirs))
}

fn packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(160).to_be_bytes());
    packet.extend(0xCAFE_BABE_u32.to_be_bytes());
    packet.extend(payload);
    packet
}

fn protect(srtp: &mut Srtp, plain: &[u8]) -> Vec<u8> {
    let mut buffer = [plain, &[0; RTP_OVERHEAD]].concat();
    let length = srtp.protect_rtp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(length);
    buffer
}

fn unprotect(srtp: &mut Srtp, secret: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = secret.to_vec();
    let length = srtp.unprotect_rtp(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

#[test]
fn appendix_b_2_the_key_stream() {
    let cipher = Aes128::new_from_slice(&bytes("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let iv = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut stream = vec![0; 0xFF02 * 16];
    key_stream(&cipher, iv, &mut stream);
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(stream[block * 16..][..16], bytes(expected), "block {block:#x}");
    }
}

#[test]
fn appendix_b_3_the_session_keys() {
    assert_eq!(derive::<16>(&appendix_b(), 0).to_vec(), bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derive::<14>(&appendix_b(), 2).to_vec(), bytes("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        derive::<96>(&appendix_b(), 1).to_vec(),
        bytes(
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C\
             9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2DC68"
        )
    );
}

#[test]
fn packets_as_other_implementations_make_them() {
    // The reference packets of libsrtp's own test.
    let (mut ours, mut theirs) = pair(Suite::Aes128Sha1Tag80);
    let plain = bytes("800f1234decafbadcafebabe abababababababababababababababab");
    let secret = bytes("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(protect(&mut ours, &plain), secret);
    assert_eq!(unprotect(&mut theirs, &secret), Ok(plain));
    let report = bytes("81c8000bcafebabe abababababababababababababababab");
    let mut buffer = [&report[..], &[0; RTCP_OVERHEAD]].concat();
    // That test starts at index 1.
    ours.outbound.source(0xCAFE_BABE).unwrap().next_report = 1;
    assert_eq!(ours.protect_rtcp(&mut buffer, report.len()), Ok(38));
    buffer.truncate(38);
    let secret = bytes("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
    assert_eq!(buffer, secret);
    assert_eq!(theirs.unprotect_rtcp(&mut buffer), Ok(report.len()));
    assert_eq!(buffer[..report.len()], report);
    let mut again = secret;
    assert_eq!(theirs.unprotect_rtcp(&mut again), Err(SrtpError::Replayed));
}

#[test]
fn gcm_packets_as_other_implementations_make_them() {
    // The reference packets of libsrtp's own test.
    let key = MasterKey::new(
        Suite::Aes128Gcm,
        &bytes("000102030405060708090a0b0c0d0e0f"),
        &bytes("a0a1a2a3a4a5a6a7a8a9aaab"),
    );
    let key = key.unwrap();
    let keys = SrtpKeys { suite: Suite::Aes128Gcm, inbound: key.clone(), outbound: key };
    let (mut ours, mut theirs) = (Srtp::new(&keys), Srtp::new(&keys));
    let plain = bytes("800f1234decafbadcafebabe abababababababababababababababab");
    let secret = bytes("800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392");
    assert_eq!(protect(&mut ours, &plain), secret);
    assert_eq!(unprotect(&mut theirs, &secret), Ok(plain));
    let report = bytes("81c8000bcafebabe abababababababababababababababab");
    let mut buffer = [&report[..], &[0; RTCP_OVERHEAD]].concat();
    ours.outbound.source(0xCAFE_BABE).unwrap().next_report = 1;
    assert_eq!(ours.protect_rtcp(&mut buffer, report.len()), Ok(buffer.len()));
    let secret = bytes("81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001");
    assert_eq!(buffer, secret);
    assert_eq!(theirs.unprotect_rtcp(&mut buffer), Ok(report.len()));
    assert_eq!(buffer[..report.len()], report);
    let mut again = secret;
    assert_eq!(theirs.unprotect_rtcp(&mut again), Err(SrtpError::Replayed));
}

#[test]
fn long_keys_come_back_too() {
    let master = |byte: u8| MasterKey::new(Suite::Aes256Gcm, &[byte; 32], &[byte; 12]).unwrap();
    let keys = SrtpKeys { suite: Suite::Aes256Gcm, inbound: master(1), outbound: master(2) };
    let mut ours = Srtp::new(&keys);
    let mut theirs = Srtp::new(&SrtpKeys { inbound: master(2), outbound: master(1), ..keys.clone() });
    let secret = protect(&mut ours, &packet(7, b"hello"));
    assert_eq!(secret.len(), 12 + 5 + 16);
    let mut changed = secret.clone();
    changed[13] ^= 1;
    assert_eq!(unprotect(&mut theirs, &changed), Err(SrtpError::NotAuthentic));
    assert_eq!(unprotect(&mut theirs, &secret), Ok(packet(7, b"hello")));
    assert_eq!(unprotect(&mut theirs, &secret), Err(SrtpError::Replayed));
    assert_eq!(MasterKey::new(Suite::Aes256Gcm, &[0; 16], &[0; 12]), None);
}

#[test]
fn our_own_keys_differ_by_leg_and_suite() {
    let of = |suite, secret: &[u8]| MasterKey::derive(suite, secret);
    let one = of(Suite::Aes128Sha1Tag80, b"leg one");
    assert_eq!(one, of(Suite::Aes128Sha1Tag80, b"leg one"));
    assert_eq!(Some(one.clone()), MasterKey::new(Suite::Aes128Sha1Tag80, one.key(), one.salt()));
    assert_ne!(one, of(Suite::Aes128Sha1Tag80, b"leg two"));
    assert_ne!(one.key(), of(Suite::Aes128Sha1Tag32, b"leg one").key());
    let long = of(Suite::Aes256Gcm, b"leg one");
    assert_eq!(MasterKey::new(Suite::Aes256Gcm, long.key(), &long.salt()[..12]), Some(long.clone()));
    assert_ne!(long.key()[..16], long.key()[16..]);
}

#[test]
fn a_key_that_stays_goes_on_counting() {
    let (mut ours, mut theirs) = pair(Suite::Aes128Sha1Tag80);
    for sequence in [65_000, 65_535, 0, 1] {
        let secret = protect(&mut ours, &packet(sequence, b"x"));
        assert!(unprotect(&mut theirs, &secret).is_ok());
    }
    // The peer changes its own key and keeps ours.
    let fresh = master("00000000000000000000000000000000", "0000000000000000000000000000");
    ours.change(&SrtpKeys { inbound: fresh.clone(), ..ours.master.clone() });
    theirs.change(&SrtpKeys { outbound: fresh, ..theirs.master.clone() });
    let secret = protect(&mut ours, &packet(2, b"y"));
    assert_eq!(unprotect(&mut theirs, &secret), Ok(packet(2, b"y")), "still in the second round");
    let back = protect(&mut theirs, &packet(9, b"z"));
    assert_eq!(unprotect(&mut ours, &back), Ok(packet(9, b"z")));
}

#[test]
fn a_stream_survives_its_wraps_losses_and_reordering() {
    for suite in [Suite::Aes128Sha1Tag80, Suite::Aes128Sha1Tag32] {
        let (mut ours, mut theirs) = pair(suite);
        let mut late = Vec::new();
        for number in 0..200_000u32 {
            let plain = packet((number + 30_000) as u16, &number.to_be_bytes());
            let secret = protect(&mut ours, &plain);
            match number % 1_000 {
                7 => late.push((secret, plain)),
                11..=40 => {}
                _ => assert_eq!(unprotect(&mut theirs, &secret), Ok(plain), "{number}"),
            }
            if number % 1_000 == 60
                && let Some((secret, plain)) = late.pop()
            {
                assert_eq!(unprotect(&mut theirs, &secret), Ok(plain), "late, before {number}");
                assert_eq!(unprotect(&mut theirs, &secret), Err(SrtpError::Replayed));
            }
        }
        assert_eq!(theirs.inbound.sources[0].highest, Some(229_999), "three rounds and more");
    }
}

#[test]
fn nobody_without_the_key_is_believed_or_remembered() {
    let (mut ours, mut theirs) = pair(Suite::Aes128Sha1Tag80);
    let secret = protect(&mut ours, &packet(1, b"hello"));
    for at in 0..secret.len() {
        let mut changed = secret.clone();
        changed[at] ^= 1;
        let told = unprotect(&mut theirs, &changed);
        assert!(matches!(told, Err(SrtpError::NotAuthentic | SrtpError::Malformed)), "byte {at}: {told:?}");
    }
    for end in 0..secret.len() {
        assert!(unprotect(&mut theirs, &secret[..end]).is_err());
    }
    assert!(theirs.inbound.sources.is_empty());
    assert_eq!(unprotect(&mut ours, &secret), Err(SrtpError::NotAuthentic), "its own packet sent back");
    assert_eq!(unprotect(&mut theirs, &secret), Ok(packet(1, b"hello")));
    for ssrc in 0..2 * MAX_SOURCES as u8 {
        let mut plain = packet(1, b"x");
        plain[8] = ssrc;
        let secret = {
            let (mut fresh, _) = pair(Suite::Aes128Sha1Tag80);
            protect(&mut fresh, &plain)
        };
        let told = unprotect(&mut theirs, &secret);
        assert!(matches!(told, Ok(_) | Err(SrtpError::TooManySources)), "{told:?}");
    }
    assert_eq!(theirs.inbound.sources.len(), MAX_SOURCES);
}

#[test]
fn a_buffer_without_room_is_not_sent() {
    let (mut ours, _) = pair(Suite::Aes128Sha1Tag80);
    let mut plain = packet(1, b"hello");
    let length = plain.len();
    assert_eq!(ours.protect_rtp(&mut plain, length), Err(SrtpError::NoRoom));
    assert_eq!(ours.protect_rtp(&mut plain, length + 1), Err(SrtpError::NoRoom));
    assert_eq!(ours.protect_rtcp(&mut plain, length), Err(SrtpError::NoRoom));
}

proptest! {
    #[test]
    fn any_bytes_come_back_or_are_refused(front in any::<u8>(), body in prop::collection::vec(any::<u8>(), 11..400)) {
        let (mut ours, mut theirs) = pair(Suite::Aes128Sha1Tag80);
        let plain = [&[0x80 | front & 0x3F][..], &body].concat();
        let mut buffer = [&plain[..], &[0; RTP_OVERHEAD]].concat();
        if let Ok(length) = ours.protect_rtp(&mut buffer, plain.len()) {
            prop_assert_eq!(unprotect(&mut theirs, &buffer[..length]), Ok(plain));
        }
        let mut noise = body.clone();
        prop_assert!(theirs.unprotect_rtp(&mut noise).is_err());
        prop_assert_eq!(&noise, &body, "what is refused is not changed");
        prop_assert!(theirs.unprotect_rtcp(&mut noise).is_err());
    }
}
