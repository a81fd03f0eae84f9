//! Who serves a queue, and where its overflow rules lead, as callers hear it.

mod common;

use common::{Call, TENANT, World, name};
use futures::executor::block_on;
use hotline_routing::QueueConfig;
use hotline_routing::overflow::{OverflowAction, OverflowRule, OverflowWhen};
use hotline_routing::service_model::{HandOver, ServiceModel};
use hotline_service::config::{self, Kind};

/// Every way out of a queue sounds different.
const WAYS: &str = "\
flow: ways
languages: [en]
start: wait
prompts:
  hello: {en: Hello.}
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    max_wait: 30m
    on_max_wait: bye
    overflow: {voicemail: mail, link: link}
    self_service: robot
    then: bye
  mail:
    voicemail: hello
    then: bye
  link:
    transfer: \"+8610555\"
    no_answer: bye
    then: bye
  robot:
    menu: hello
    options: {0: wait}
    no_input: bye
    no_match: bye
  bye:
    hangup: bye
";

fn world(config: QueueConfig) -> World {
    let world = World::new(WAYS);
    block_on(config::put(&world.service, TENANT, Kind::QUEUE, "technical", &config, None, "test")).unwrap();
    world
}

fn technical() -> QueueConfig {
    QueueConfig::new(name("technical"))
}

fn overflowing(then: OverflowAction) -> String {
    let overflow = vec![OverflowRule { when: OverflowWhen::NobodyStaffed, then }];
    world(QueueConfig { overflow, ..technical() }).call().0.words()
}

#[test]
fn each_overflow_rule_leads_its_own_way() {
    assert_eq!(overflowing(OverflowAction::Voicemail), "answer play record");
    assert_eq!(overflowing(OverflowAction::Link), "answer transfer");
    assert_eq!(overflowing(OverflowAction::Message), "answer play hangup", "not named: as after too long a wait");
    assert_eq!(overflowing(OverflowAction::Reserve), "answer hold", "waits on");
}

#[test]
fn an_automated_queue_is_never_offered_to_people() {
    let mut world = world(QueueConfig { service_model: ServiceModel::Automated, ..technical() });
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    for _ in 0..5 {
        assert!(call.words().ends_with("gather"), "{}", call.words());
        world.press(&mut call, "0");
    }
    assert!(!made(&world, &call, "OfferMade") && made(&world, &call, "QueueLeft"));
}

#[test]
fn a_hybrid_queue_hands_over_by_its_rules() {
    let hand_over = vec![HandOver::Free, HandOver::Asked { times: 2 }];
    let mut world = world(QueueConfig { service_model: ServiceModel::Hybrid, hand_over, ..technical() });
    let (mut call, _) = world.call();
    world.press(&mut call, "0");
    assert!(call.words().ends_with("gather"), "nobody is there: {}", call.words());
    world.press(&mut call, "0");
    assert!(call.words().ends_with("hold"), "asked twice before: {}", call.words());
    world.sign_in();
    world.available();
    world.ring(&mut call);
    let (second, _) = world.call();
    assert_eq!(second.words(), "answer gather", "the only agent rings");
}

fn made(world: &World, call: &Call, fact: &str) -> bool {
    world.journey(call).iter().any(|name| name == fact)
}
