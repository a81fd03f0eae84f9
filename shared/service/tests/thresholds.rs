//! Thresholds of queues: raised and cleared by what happens, by time, and by configuration.

mod common;

use common::{PATIENT, TENANT, World, name};
use futures::executor::block_on;
use hotline_routing::QueueConfig;
use hotline_routing::threshold::{Metric, Threshold};
use hotline_service::config::{self, Kind};
use hotline_service::{live, thresholds};
use hotline_wire::api::Role;
use hotline_wire::node::{CallEvent, EndCause};
use serde_json::{Value, json};

fn world(rules: &[(Metric, u32, u32)]) -> World {
    let world = World::new(PATIENT);
    configure(&world, rules);
    let connection = live::Connection {
        connection: "desk".into(),
        user: hotline_base::UserId::from_u128(9),
        role: Role::Supervisor,
    };
    block_on(live::connect(&world.service, TENANT, &connection)).unwrap();
    world
}

fn configure(world: &World, rules: &[(Metric, u32, u32)]) {
    let mut config = QueueConfig::new(name("technical"));
    config.thresholds = rules.iter().map(|&(metric, raise, clear)| Threshold { metric, raise, clear }).collect();
    assert_eq!(config.validate(&Default::default()), []);
    block_on(config::put(&world.service, TENANT, Kind::QUEUE, "technical", &config, None, "test")).unwrap();
}

fn hang_up(world: &mut World, call: &mut common::Call) {
    world.send(call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
}

/// Open alarms in words.
fn open(world: &World) -> Vec<String> {
    let open = block_on(thresholds::open(&world.service, TENANT)).unwrap();
    open.iter().map(|alarm| format!("{} {} at {}", alarm.queue, alarm.threshold.metric.name(), alarm.value)).collect()
}

fn facts(world: &World) -> Vec<&str> {
    let alarms = world.facts.iter().filter(|fact| fact.subject.kind == "queue-alarms");
    alarms.map(|fact| fact.name.as_str()).collect()
}

/// Alarms that a supervisor's console was told of; everything comes twice in this world.
fn pushed(world: &World) -> Vec<Value> {
    let sent = world.memory.push.take().into_iter().map(|(_, body)| serde_json::from_str::<Value>(&body).unwrap());
    let mut alarms: Vec<Value> = sent.filter(|event| event["event"] == "alarm").collect();
    alarms.dedup();
    alarms
}

#[test]
fn a_long_queue_raises_at_once_and_clears_when_it_is_short_again() {
    let mut world = world(&[(Metric::Waiting, 3, 1)]);
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(world.call().0);
        world.pass_ms(3_000);
    }
    assert_eq!(open(&world), ["technical waiting at 3"]);
    let told = pushed(&world);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["raised"], &told[0]["value"], &told[0]["raise"]), (&json!(true), &json!(3), &json!(3)));
    hang_up(&mut world, &mut calls[0]);
    world.pass_ms(3_000);
    assert_eq!(open(&world).len(), 1, "two wait: not yet good");
    hang_up(&mut world, &mut calls[1]);
    world.pass_ms(3_000);
    assert_eq!(open(&world), [""; 0]);
    assert_eq!(facts(&world), ["ThresholdRaised", "ThresholdCleared"]);
    let last = pushed(&world).pop().unwrap();
    assert_eq!((&last["raised"], &last["value"]), (&json!(false), &json!(1)));
}

#[test]
fn the_longest_wait_raises_to_the_second_though_nothing_happens() {
    let mut world = world(&[(Metric::LongestWaitS, 90, 30)]);
    let (mut call, _) = world.call();
    world.pass_ms(89_000);
    assert_eq!(open(&world), [""; 0]);
    world.pass_ms(2_000);
    assert_eq!(open(&world), ["technical longest-wait-s at 90"]);
    hang_up(&mut world, &mut call);
    block_on(thresholds::tick(&world.service)).unwrap();
    world.settle();
    assert_eq!(open(&world), [""; 0]);
    assert_eq!(world.memory.store.timers().iter().filter(|t| t.subject.kind == "queue-alarms").count(), 0);
}

#[test]
fn a_bad_service_level_clears_when_it_is_quiet() {
    let mut world = world(&[(Metric::ServiceLevelPct, 70, 80), (Metric::AbandonedPct, 50, 20)]);
    for _ in 0..6 {
        let (mut call, _) = world.call();
        world.pass_ms(30_000);
        hang_up(&mut world, &mut call);
    }
    world.pass_ms(60_000);
    block_on(thresholds::tick(&world.service)).unwrap();
    world.settle();
    assert_eq!(open(&world), ["technical abandoned-pct at 100", "technical service-level-pct at 0"]);
    world.pass_ms(45 * 60_000);
    assert_eq!(block_on(thresholds::tick(&world.service)).unwrap(), 1);
    world.settle();
    assert_eq!(open(&world), [""; 0]);
}

#[test]
fn thresholds_that_were_removed_leave_nothing_behind() {
    let mut world = world(&[(Metric::Waiting, 1, 0)]);
    let (mut call, _) = world.call();
    assert_eq!(open(&world).len(), 1);
    configure(&world, &[]);
    block_on(thresholds::tick(&world.service)).unwrap();
    world.settle();
    assert_eq!(open(&world), [""; 0]);
    assert_eq!(block_on(thresholds::tick(&world.service)).unwrap(), 0, "nothing is left to look at");
    hang_up(&mut world, &mut call);
    assert_eq!(facts(&world), ["ThresholdRaised", "ThresholdCleared"]);
}
