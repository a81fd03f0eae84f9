use super::*;

fn gateway(n: u16, priority: u16) -> Gateway {
    Gateway { name: format!("g{n}"), port: Some(n), priority, ..Gateway::at("192.0.2.1") }
}

fn gateways(list: Vec<Gateway>, change: impl FnOnce(&mut TrunkSection)) -> (Gateways, Instant) {
    let mut trunk = TrunkSection { gateways: list, allow: vec!["+".into()], ..TrunkSection::default() };
    change(&mut trunk);
    let now = Instant::now();
    (Gateways::new(&trunk, now), now)
}

fn wish(tried: &[Way]) -> Wish<'_> {
    Wish { tenant: None, emergency: false, tried, random: 7 }
}

fn next(all: &Gateways, tried: &[Way], now: Instant) -> Option<(usize, bool)> {
    all.choose(&wish(tried), now).ok().map(|choice| (choice.way.gateway, choice.more))
}

fn refused(result: Result<Choice, Refused>) -> Refused {
    match result {
        Err(refused) => refused,
        Ok(choice) => panic!("{:?} was chosen", choice.way),
    }
}

#[test]
fn gateways_take_turns_when_they_fail() {
    let (all, now) = gateways((1..=3).map(|n| gateway(n, n)).collect(), |_| {});
    let way = |n: usize| all.lines(n)[0];
    assert_eq!(next(&all, &[], now), Some((0, true)));
    all.failed(way(0), now);
    assert_eq!(next(&all, &[way(0)], now), Some((1, true)));
    assert_eq!(next(&all, &[way(0), way(1)], now), Some((2, false)));
    assert_eq!(refused(all.choose(&wish(&[way(0), way(1), way(2)]), now)), Refused::NoLine);
    // The next call does not begin with the one that failed.
    assert_eq!(next(&all, &[], now), Some((1, true)));
    assert_eq!(next(&all, &[way(1), way(2)], now), Some((0, false)));
    assert_eq!(next(&all, &[], now + Duration::from_secs(30)), Some((0, true)));
}

#[test]
fn who_does_not_answer_comes_last_and_comes_back() {
    let (all, now) = gateways(vec![gateway(1, 1), gateway(2, 2)], |_| {});
    let first = all.lines(0)[0];
    assert_eq!(all.jobs(now).len(), 2, "both are asked at once");
    let at = |s| now + Duration::from_secs(s);
    let second = all.lines(1)[0];
    all.answered(second, false, now);
    assert_eq!(all.due(), Some(at(4)));
    assert_eq!(all.jobs(at(4)), []);
    assert_eq!(all.jobs(at(9)), [Job::Ask(first)]);
    assert_eq!(all.jobs(at(13)), [Job::Changed(first, Change::Down)]);
    assert_eq!(next(&all, &[], at(13)), Some((1, true)));
    assert!(all.report().contains("gateway g1 192.0.2.1:1: down"), "{}", all.report());
    assert_eq!(all.answered(first, false, at(14)), None);
    assert_eq!(all.answered(first, false, at(19)), Some(Change::Up));
    assert_eq!(next(&all, &[], at(19)), Some((0, true)));
}

#[test]
fn shares_follow_the_weights() {
    let weighted = |n, weight| Gateway { weight, ..gateway(n, 1) };
    let (all, now) = gateways(vec![weighted(1, 1), weighted(2, 3)], |trunk| trunk.max_calls = 10_000);
    let mut chosen = [0; 2];
    for n in 0..4_000u64 {
        let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7;
        let choice = all.choose(&Wish { random, ..wish(&[]) }, now).ok().unwrap();
        chosen[choice.way.gateway] += 1;
    }
    assert!((900..1_100).contains(&chosen[0]), "{chosen:?}");
}

#[test]
fn limits_say_which_of_them_was_reached() {
    let (all, now) =
        gateways(vec![Gateway { max_calls: 1, ..gateway(1, 1) }, gateway(2, 2)], |trunk| trunk.max_calls = 2);
    let first = all.choose(&wish(&[]), now).ok().unwrap();
    let second = all.choose(&wish(&[]), now).ok().unwrap();
    assert_eq!((first.way.gateway, second.way.gateway, second.more), (0, 1, false), "the first is full");
    assert_eq!(refused(all.choose(&wish(&[]), now)), Refused::Limit("trunk.max_calls"));
    let emergency = all.choose(&Wish { emergency: true, ..wish(&[]) }, now).ok().unwrap();
    assert_eq!((emergency.way.gateway, all.calls()), (0, 3), "limits do not hold");
    drop((first, second, emergency));
    assert_eq!(all.calls(), 0);

    let (all, now) = gateways(vec![Gateway { calls_per_second: 1, max_calls: 9, ..gateway(1, 1) }], |trunk| {
        trunk.tenant_max_calls = 2;
        trunk.tenant_calls_per_second = 2;
    });
    let (a, b) = (TenantId::from_u128(1), TenantId::from_u128(2));
    let of = |tenant| Wish { tenant: Some(tenant), ..wish(&[]) };
    let held = all.choose(&of(a), now).ok().unwrap();
    assert_eq!(refused(all.choose(&of(a), now)), Refused::Limit("the gateways' calls_per_second"));
    assert_eq!(refused(all.choose(&of(a), now)), Refused::Limit("trunk.tenant_calls_per_second"));
    let later = now + Duration::from_secs(1);
    let other = all.choose(&of(b), later).ok().unwrap();
    let later = later + Duration::from_secs(1);
    let more = all.choose(&of(a), later).ok().unwrap();
    let later = later + Duration::from_secs(1);
    assert_eq!(refused(all.choose(&of(a), later)), Refused::Limit("trunk.tenant_max_calls"));
    drop(held);
    assert!(all.choose(&of(a), later).is_ok());
    drop((other, more));
}

#[test]
fn the_lines_of_a_name_follow_dns_and_keep_what_is_known() {
    let (all, now) = gateways(vec![Gateway { port: None, ..Gateway::at("sip.example") }], |_| {});
    assert_eq!(refused(all.choose(&wish(&[]), now)), Refused::NoLine);
    let hop = |address: &str, priority| Hop {
        address: address.parse().unwrap(),
        transport: Transport::Udp,
        priority,
        weight: 0,
    };
    let (a, b) = (hop("192.0.2.1:5060", 10), hop("192.0.2.2:5060", 20));
    all.resolved(0, &[a, b], now);
    assert_eq!(all.choose(&wish(&[]), now).ok().unwrap().way.address, a.address);
    all.failed(Way { gateway: 0, address: a.address, transport: Transport::Udp }, now);
    all.resolved(0, &[b, a], now);
    assert_eq!(all.choose(&wish(&[]), now).ok().unwrap().way.address, b.address, "it still rests");
    assert_eq!(all.of_source("192.0.2.2".parse().unwrap()), Some(0));
    assert!(all.is_at(None, "SIP.example") && all.is_at(Some(a.address), "x") && !all.is_at(None, "x"));
}

#[test]
fn whoever_must_register_waits_for_it() {
    let (all, now) = gateways(vec![Gateway { register: true, ..gateway(1, 1) }, gateway(2, 2)], |_| {});
    assert_eq!(next(&all, &[], now), Some((1, true)));
    assert_eq!(all.registration(0, Registered::Granted(60)), Some(Registered::Trying));
    assert_eq!(next(&all, &[], now), Some((0, true)));
    let mut text = String::new();
    all.metrics(&mut text);
    assert!(text.contains("hotline_node_gateway_registered{gateway=\"g1\"} 1"), "{text}");
    assert!(text.contains("hotline_node_gateway_up{gateway=\"g2\",address=\"192.0.2.1:2\"} 1"), "{text}");
}
