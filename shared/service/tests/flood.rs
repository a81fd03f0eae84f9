//! A tenant's settings: limits of calls (one caller's, anonymous ones by place, the tenant's; who is exempt),
//! numbers in national form, which are the same party, and whose voices a speech engine gets.

mod common;

use common::{CALLER, Call, DID, NODE, PATIENT, TENANT, World, name};
use futures::executor::block_on;
use hotline_base::ContactId;
use hotline_contact::{CallLimit, party_partition};
use hotline_service::config::{self, Kind, VipList};
use hotline_service::figures::{self, Period};
use hotline_service::settings::{self, CallLimits, CallRate, Settings};
use hotline_service::{ServiceError, contacts, directory, flood, tickets};
use hotline_ticket::ticket_of;
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{CallEvent, Decision, DirectoryInput, EndCause, TapVoices, Verb, VerbResult};

fn set(world: &World, limits: CallLimits) {
    let settings = Settings { limits, ..Settings::default() };
    block_on(settings::put(&world.service, TENANT, &settings, None, "test")).unwrap();
}

/// A call of this number, from this place.
fn dial(world: &mut World, from: &str, place: &str) -> (Call, Decision) {
    let seed = world.memory.store.all_rows().len() + world.facts.len();
    let contact = ContactId::new(world.service.now(), 40_000 + seed as u128);
    let mut call = Call { contact, seq: 0, label: String::new(), script: Vec::new(), tenant: None };
    let dialog = DialogRef {
        sip_call_id: "x".into(),
        local_tag: "l".into(),
        remote_tag: "r".into(),
        remote_target: "sip:x@192.0.2.7".to_string().into(),
        peer: format!("{place}:5060;transport=udp"),
    };
    let event = CallEvent::Arrived {
        did: DID.into(),
        from: from.to_string().into(),
        display_name: String::new().into(),
        sip_call_id: "x".into(),
        dialog: Some(dialog),
        diverted: None,
    };
    let decision = world.send(&mut call, event);
    (call, decision)
}

/// How a call was refused: the status and when to come again, seconds.
fn refused(decision: &Decision) -> Option<(u16, u32)> {
    match decision.script.as_deref() {
        Some([Verb::Reject { status, retry_after_s, .. }]) => Some((*status, retry_after_s.unwrap_or(0))),
        _ => None,
    }
}

fn hang_up(world: &mut World, call: &mut Call) {
    world.send(call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
}

#[test]
fn one_caller_has_so_many_calls_at_once_and_a_minute_and_nobody_else_notices() {
    let mut world = World::new(PATIENT);
    set(&world, CallLimits::default());
    let mut calls: Vec<Call> = (0..5)
        .map(|_| {
            let (call, decision) = dial(&mut world, CALLER, "192.0.2.7");
            assert_eq!(refused(&decision), None);
            call
        })
        .collect();
    let (mut sixth, decision) = dial(&mut world, CALLER, "192.0.2.9");
    assert_eq!(refused(&decision), Some((486, 30)), "from another place it is the same caller");
    // The node says that the call is over; there is no contact that could end.
    hang_up(&mut world, &mut sixth);
    assert!(block_on(contacts::get(&world.service, TENANT, sixth.contact)).unwrap().is_none());
    assert_eq!(refused(&dial(&mut world, "+8613900139000", "192.0.2.7").1), None, "somebody else");
    // Who is in stays in, and one that ends makes room for another.
    assert!(calls.iter().all(|call| world.contact(call).is_alive()));
    for _ in 0..5 {
        let mut over = calls.remove(0);
        hang_up(&mut world, &mut over);
        let (call, decision) = dial(&mut world, CALLER, "192.0.2.7");
        assert_eq!(refused(&decision), None);
        calls.push(call);
    }
    let mut over = calls.remove(0);
    hang_up(&mut world, &mut over);
    let (_, decision) = dial(&mut world, CALLER, "192.0.2.7");
    let (status, seconds) = refused(&decision).expect("ten were let in within this minute");
    assert!(status == 486 && (1..=60).contains(&seconds), "{decision:?}");
    world.pass_ms(60_000);
    assert_eq!(refused(&dial(&mut world, CALLER, "192.0.2.7").1), None, "the next minute");

    let told: Vec<&str> = world.facts.iter().map(|fact| fact.name.as_str()).filter(|n| *n == "CallRefused").collect();
    assert_eq!(told.len(), 2, "once each, however often the node asks");
    let now = world.service.now();
    let period = Period::new(now.plus_ms(-3_600_000), now.plus_ms(1)).unwrap();
    let summary = block_on(figures::summary(&world.service, TENANT, period, 900_000)).unwrap();
    assert_eq!((summary.refused_by_caller, summary.refused_by_tenant, summary.contacts), (2, 0, 12));
    let floods = block_on(flood::list(&world.service, TENANT, None, 10)).unwrap();
    let (_, last) = floods.first().unwrap();
    assert_eq!((floods.len(), last.refused.limit, last.refused.most), (1, CallLimit::CallerPerMinute, 10));
    assert_eq!(last.refused.from.expose(), CALLER);
}

#[test]
fn anonymous_calls_are_counted_by_the_place_they_come_from() {
    let mut world = World::new(PATIENT);
    let anonymous = CallRate { at_once: 2, per_minute: 100 };
    set(&world, CallLimits { anonymous, ..CallLimits::default() });
    for _ in 0..2 {
        assert_eq!(refused(&dial(&mut world, "", "192.0.2.7").1), None);
    }
    assert_eq!(refused(&dial(&mut world, "", "192.0.2.7").1), Some((486, 30)));
    assert_eq!(refused(&dial(&mut world, "", "192.0.2.8").1), None, "another trunk");
    assert_eq!(refused(&dial(&mut world, CALLER, "192.0.2.7").1), None, "one who says who calls");
}

#[test]
fn a_tenant_has_so_many_calls_at_once_but_those_on_the_list_are_let_in() {
    let mut world = World::new(PATIENT);
    let vips = VipList { numbers: [CALLER.to_string()].into() };
    block_on(config::put(&world.service, TENANT, Kind::VIP_LIST, "gold", &vips, None, "test")).unwrap();
    let per_caller = CallRate { at_once: 1, per_minute: 1 };
    set(&world, CallLimits { calls_at_once: 3, per_caller, exempt_lists: [name("gold")].into(), ..Default::default() });
    let alive = |world: &World| {
        let expires = world.service.now().plus_ms(8_000);
        let (sip_address, calls, draining, started_at) = ("10.0.0.7:5060".into(), 0, false, None);
        let input = DirectoryInput::NodeAlive { node: NODE, sip_address, calls, draining, expires, started_at };
        block_on(directory::handle(&world.service, input)).unwrap();
    };
    alive(&world);
    let mut calls = Vec::new();
    for n in 0..3 {
        let (call, decision) = dial(&mut world, &format!("+86139001390{n:02}"), "192.0.2.7");
        assert_eq!(refused(&decision), None);
        calls.push(call);
    }
    world.memory.world.advance_ms(2_500);
    alive(&world);
    assert_eq!(refused(&dial(&mut world, "+8613900139009", "192.0.2.7").1), Some((480, 10)));
    for _ in 0..3 {
        assert_eq!(refused(&dial(&mut world, CALLER, "192.0.2.7").1), None, "a VIP");
    }
    assert!(calls.iter().all(|call| world.contact(call).is_alive()), "nobody who was let in is turned out");
    // A repeat of a call that is there gets its answer, whatever the limits say now.
    let first = &mut calls[0];
    first.seq = 0;
    let label = first.label.clone();
    let event = CallEvent::Arrived {
        did: DID.into(),
        from: "+8613900139000".to_string().into(),
        display_name: String::new().into(),
        sip_call_id: "x".into(),
        dialog: None,
        diverted: None,
    };
    world.pass_ms(61_000);
    let input = hotline_wire::node::CallInput {
        contact: first.contact,
        tenant: None,
        node: NODE,
        seq: 1,
        at: world.service.now(),
        event,
    };
    let again = block_on(hotline_service::ivr::handle(&world.service, input)).unwrap();
    assert_eq!((refused(&again), again.label), (None, label));
}

#[test]
fn settings_are_checked_field_by_field() {
    let world = World::new(PATIENT);
    let mut settings = Settings::default();
    settings.limits.per_caller.at_once = 0;
    settings.limits.calls_at_once = 1_000_000;
    settings.limits.exempt_lists = [name("nobody")].into();
    settings.calls.forbidden = vec!["86".into()];
    let refused = block_on(settings::put(&world.service, TENANT, &settings, None, "test")).unwrap_err();
    let ServiceError::Invalid(invalid) = refused else { panic!("{refused}") };
    let fields: Vec<&str> = invalid.fields().iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        ["limits.per_caller.at_once", "limits.calls_at_once", "calls.forbidden[0]", "limits.exempt_lists"]
    );
}

#[test]
fn a_number_in_national_form_is_the_same_party() {
    let mut world = World::new(PATIENT);
    let mut settings = Settings::default();
    settings.calls.country = Some("CN".parse().unwrap());
    block_on(settings::put(&world.service, TENANT, &settings, None, "test")).unwrap();
    let mut calls = Vec::new();
    for from in ["13800138000", "+86 138 0013 8000", "0086 13800138000", "013800138000"] {
        let (mut call, decision) = dial(&mut world, from, "192.0.2.7");
        assert_eq!(refused(&decision), None, "{from}");
        assert_eq!(world.contact(&call).from.expose(), CALLER, "{from}");
        hang_up(&mut world, &mut call);
        calls.push(call);
    }
    let rows = block_on(contacts::list(&world.service, TENANT, &party_partition(CALLER), None, 10)).unwrap();
    assert_eq!(rows.len(), 4, "one person");
    let ticket = block_on(tickets::get(&world.service, TENANT, ticket_of(calls[0].contact))).unwrap().unwrap();
    assert_eq!(ticket.requester.number.unwrap().expose(), CALLER);
    // An extension is nobody's number and stays as it is.
    let (inside, _) = dial(&mut world, "2001", "192.0.2.7");
    assert_eq!(world.contact(&inside).from.expose(), "2001");
}

#[test]
fn a_tenants_voices_go_to_a_speech_engine_where_it_says_so() {
    for tap in [None, Some(TapVoices::Both)] {
        let mut world = World::new(PATIENT);
        let settings = Settings { tap, ..Settings::default() };
        block_on(settings::put(&world.service, TENANT, &settings, None, "test")).unwrap();
        let (mut call, decision) = dial(&mut world, CALLER, "192.0.2.7");
        assert_eq!(decision.tap, tap);
        let later = world.ended(&mut call, VerbResult::Done);
        assert_eq!(later.tap, None, "it is said once");
    }
}
