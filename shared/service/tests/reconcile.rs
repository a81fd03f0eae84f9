//! The reconciler: nothing to find in a healthy hotline, and damage repaired.

mod common;

use common::{AGENT, NODE, PATIENT, TENANT, World};
use futures::executor::block_on;
use hotline_base::{AgentId, EntityKey, IndexRow, TenantId};
use hotline_ports::{Commit, OutboxRow, Range};
use hotline_routing::AgentState;
use hotline_service::reconcile::{self, Mismatch, Report};
use hotline_service::{agent_key, contact_key, directory};
use hotline_wire::node::{CallEvent, DirectoryInput, EndCause};
use serde_json::json;

fn node_lives(world: &World) {
    let input = DirectoryInput::NodeAlive {
        node: NODE,
        sip_address: "10.0.0.1:5060".into(),
        calls: 0,
        draining: false,
        expires: world.service.now().plus_ms(15_000),
        started_at: None,
    };
    block_on(directory::handle(&world.service, input)).unwrap();
}

fn world() -> World {
    let mut world = World::new(PATIENT);
    node_lives(&world);
    world.sign_in();
    world
}

/// One pass over everything.
fn pass(world: &mut World) -> Vec<(Mismatch, bool)> {
    let mut found = Vec::new();
    loop {
        let Report { found: some, complete, .. } = block_on(reconcile::run(&world.service)).unwrap();
        found.extend(some.into_iter().map(|f| (f.what, f.repaired)));
        if complete {
            world.settle();
            return found;
        }
    }
}

fn row(world: &World, partition: &str) -> Option<IndexRow> {
    let rows = world.memory.store.all_rows();
    rows.into_iter().map(|(_, row)| row).find(|row| row.partition == partition)
}

#[test]
fn a_healthy_hotline_has_nothing_to_find() {
    let mut world = world();
    assert_eq!(pass(&mut world), []);
    let (mut call, _) = world.call();
    assert_eq!(pass(&mut world), []);
    world.available();
    let ring = world.ring(&mut call);
    assert_eq!(pass(&mut world), []);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    assert_eq!(pass(&mut world), []);
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    assert_eq!(pass(&mut world), []);
    assert!(world.facts.iter().all(|fact| fact.name != "TablesReconciled"));
}

#[test]
fn a_waiting_row_that_was_lost_comes_back_and_the_caller_is_served() {
    let mut world = world();
    let (mut call, _) = world.call();
    let lost = row(&world, "waiting/technical").unwrap();
    let store = world.memory.ports().store;
    block_on(store.delete_row(TENANT, &lost.partition, &lost.sort)).unwrap();
    assert_eq!(pass(&mut world), [(Mismatch::MissingRow, true)]);
    assert_eq!(row(&world, "waiting/technical"), Some(lost));
    assert_eq!(pass(&mut world), []);
    world.available();
    world.ring(&mut call);
    let told = world.facts.iter().find(|fact| fact.name == "TablesReconciled").unwrap();
    assert_eq!(told.body["found"][0]["what"], "missing-row");
}

#[test]
fn ghosts_are_removed_from_queues() {
    let mut world = world();
    let (mut call, _) = world.call();
    let ghost = row(&world, "waiting/technical").unwrap();
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let store = world.memory.ports().store;
    let nobody = AgentId::from_u128(31_337);
    let rows = [
        ghost.clone(),
        IndexRow { partition: "staffed/technical".into(), sort: nobody.to_string(), body: "{}".into() },
        IndexRow { partition: "available/technical".into(), sort: "rubbish".into(), body: "rubbish".into() },
        IndexRow { partition: "waiting/technical".into(), sort: "rubbish".into(), body: "rubbish".into() },
    ];
    for row in rows {
        block_on(store.put_row(TENANT, row, None)).unwrap();
    }
    assert_eq!(pass(&mut world), [(Mismatch::StrayRow, true); 4]);
    assert_eq!(row(&world, "waiting/technical"), None);
    assert_eq!(pass(&mut world), []);
}

#[test]
fn a_lost_timer_is_armed_again_and_fires() {
    let mut world = world();
    let (call, _) = world.call();
    let key = contact_key(TENANT, call.contact);
    let store = world.memory.ports().store;
    let timers: Vec<_> = world.memory.store.timers().into_iter().filter(|timer| timer.subject == key).collect();
    let count = timers.len();
    assert!(count > 0);
    block_on(store.commit(Commit { timers_delete: timers.clone(), ..Commit::default() })).unwrap();
    assert_eq!(pass(&mut world), vec![(Mismatch::MissingTimer, true); count]);
    let armed = world.memory.store.timers().into_iter().filter(|timer| timer.subject == key).count();
    assert_eq!(armed, count);
}

#[test]
fn a_stuck_agent_is_freed() {
    let mut world = world();
    let (mut call, _) = world.call();
    world.available();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    // The agent's state is put back to what it was in the call, as a restore might do.
    let store = world.memory.ports().store;
    let key = agent_key(TENANT, AGENT);
    let before = block_on(store.load(&key)).unwrap().unwrap();
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    world.pass_ms(60_000);
    let now = block_on(store.load(&key)).unwrap().unwrap();
    let write = hotline_ports::Write {
        key: key.clone(),
        expected: now.version,
        next: hotline_ports::Stored { version: now.version + 1, ..before },
        expires: None,
    };
    block_on(store.commit(Commit { writes: vec![write], ..Commit::default() })).unwrap();
    assert!(matches!(world.agent().state, AgentState::Busy { .. }));
    world.memory.world.advance_ms(10 * 60_000);
    node_lives(&world);
    let found = pass(&mut world);
    assert!(found.contains(&(Mismatch::AgentWithoutContact, true)), "{found:?}");
    assert!(found.contains(&(Mismatch::MissingTimer, true)), "its timers were those of another state: {found:?}");
    assert!(!matches!(world.agent().state, AgentState::Busy { .. }));
}

#[test]
fn a_contact_of_a_node_that_nobody_knows_is_recovered() {
    let mut world = World::new(PATIENT);
    let (call, _) = world.call();
    let input = DirectoryInput::NodeAlive {
        node: hotline_base::NodeId::from_u128(78),
        sip_address: "10.0.0.2:5060".into(),
        calls: 0,
        draining: false,
        expires: world.service.now().plus_ms(15_000),
        started_at: None,
    };
    block_on(directory::handle(&world.service, input)).unwrap();
    // A tenant is known by the nodes that served it.
    let sort = TENANT.to_string();
    let partition = format!("node-tenants/{}", hotline_base::NodeId::from_u128(78));
    let served = IndexRow { partition, sort, body: "{}".into() };
    block_on(world.memory.ports().store.put_row(TenantId::PLATFORM, served, None)).unwrap();
    assert!(world.contact(&call).is_alive());
    world.memory.world.advance_ms(60_000);
    assert_eq!(pass(&mut world), [], "it may have started a moment ago");
    world.memory.world.advance_ms(10 * 60_000);
    world.pass_ms(1_000);
    let found = pass(&mut world);
    assert!(found.contains(&(Mismatch::NodeGone, true)), "{found:?}");
}

#[test]
fn an_effect_that_nobody_carried_out_is_carried_out() {
    let mut world = world();
    let key = EntityKey { tenant: TENANT, kind: "contact".into(), id: "con_x".into() };
    let at = world.service.now();
    let effect = json!({"effect": "match_queue", "queue": "technical"});
    let row = OutboxRow { subject: key, version: 1, index: 0, at, body: effect };
    let store = world.memory.ports().store;
    block_on(store.commit(Commit { outbox: vec![row], ..Commit::default() })).unwrap();
    assert_eq!(pass(&mut world), [], "its time may still come");
    world.memory.world.advance_ms(6 * 60_000);
    node_lives(&world);
    let found = pass(&mut world);
    assert!(found.contains(&(Mismatch::EffectLeft, true)), "{found:?}");
    assert!(world.memory.store.unsettled().is_empty());
}

#[test]
fn a_large_hotline_is_looked_at_part_by_part() {
    let mut world = world();
    let (call, _) = world.call();
    let store = world.memory.ports().store;
    for n in 0..450_u128 {
        let sort = AgentId::from_u128(n).to_string();
        let row = IndexRow { partition: "staffed/technical".into(), sort, body: "{}".into() };
        block_on(store.put_row(TENANT, row, None)).unwrap();
    }
    let mut runs = 0;
    let mut found = 0;
    loop {
        let report = block_on(reconcile::run(&world.service)).unwrap();
        assert!(report.looked <= 200, "{}", report.looked);
        runs += 1;
        found += report.found.len();
        if report.complete {
            break;
        }
    }
    assert!(runs >= 3, "{runs}");
    assert_eq!(found, 450);
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: "reconcile",
        from: None,
        below: None,
        limit: 5,
        descending: false,
    };
    assert!(block_on(store.rows(range)).unwrap().is_empty(), "the next pass begins anew");
    assert!(world.contact(&call).is_alive());
}
