use super::*;
use futures::executor::block_on;
use hotline_ports::memory::Memory;

fn service() -> (Memory, Service) {
    let memory = Memory::new(Timestamp::from_millis(1_795_168_800_000), 7);
    let service = Service::new(memory.ports());
    (memory, service)
}

fn person(name: &str, role: Role) -> NewPerson {
    NewPerson {
        name: name.to_string().into(),
        display_name: "Fang".to_string().into(),
        role,
        password: None,
        sip_name: None,
        work: Work::default(),
    }
}

fn code(error: ServiceError) -> String {
    match error {
        ServiceError::Reject(reject) => reject.code,
        other => other.to_string(),
    }
}

#[test]
fn a_tenant_comes_with_an_administrator_who_can_sign_in() {
    block_on(async {
        let (memory, service) = service();
        let admin = person("Boss@Example.com", Role::Admin);
        let (made, added) = create_tenant(&service, "demo", "Demo", admin.clone(), "op").await.unwrap();
        let password = added.password.unwrap();
        let tokens = service.ports.identity.sign_in("boss@example.com", password.expose()).await.unwrap();
        let account = memory.identity.account(&tokens.id_token).unwrap();
        assert_eq!((account.tenant, account.role, account.user), (made.id, Role::Admin, added.user.body.id));
        assert_eq!(added.user.body.sip_user, None);
        assert_eq!(slug_of(&service, made.id).await.unwrap().as_str(), "demo");
        let again = create_tenant(&service, "demo", "Demo", admin, "op").await.unwrap_err();
        assert_eq!(code(again), "tenant-exists");
    });
}

#[test]
fn an_agent_gets_a_phone_account_whose_hashes_fit_the_password() {
    block_on(async {
        let (_, service) = service();
        let (home, _) =
            create_tenant(&service, "demo", "Demo", person("a@example.com", Role::Admin), "op").await.unwrap();
        let mut new = person("fang.li@example.com", Role::Agent);
        new.work.skills.insert("lang-zh".parse().unwrap(), 10);
        let added = add_user(&service, home.id, new.clone(), "boss").await.unwrap();
        assert_eq!(added.user.body.sip_user.as_deref(), Some("fang-li.demo"));
        let account = config::get::<SipUser>(&service, TenantId::PLATFORM, Kind::SIP_USER, "fang-li.demo")
            .await
            .unwrap()
            .unwrap();
        let secret = format!("fang-li.demo:hotline:{}", added.sip_password.unwrap().expose());
        assert_eq!(account.body.ha1_md5, hex::encode(Md5::digest(&secret)));
        assert_eq!(account.body.ha1_sha256, hex::encode(Sha256::digest(&secret)));
        let agent = agents::get(&service, home.id, added.user.body.agent()).await.unwrap().unwrap();
        assert_eq!(agent.profile.skills.len(), 1);
        assert_eq!(code(add_user(&service, home.id, new, "boss").await.unwrap_err()), "user-exists");
        let mut same_phone = person("other@example.com", Role::Agent);
        same_phone.sip_name = Some("fang-li".into());
        assert_eq!(code(add_user(&service, home.id, same_phone, "boss").await.unwrap_err()), "sip-name-taken");
    });
}

#[test]
fn a_name_signs_in_to_one_tenant_only() {
    block_on(async {
        let (_, service) = service();
        create_tenant(&service, "one", "One", person("a@example.com", Role::Admin), "op").await.unwrap();
        let error =
            create_tenant(&service, "two", "Two", person("A@example.com", Role::Admin), "op").await.unwrap_err();
        assert_eq!(code(error), "name-taken");
        assert!(tenant(&service, "two").await.unwrap().is_none());
    });
}

#[test]
fn every_mistake_is_told_at_once() {
    block_on(async {
        let (_, service) = service();
        let (home, _) =
            create_tenant(&service, "demo", "Demo", person("a@example.com", Role::Admin), "op").await.unwrap();
        let mut bad = person("not an address", Role::Operator);
        bad.display_name = " ".to_string().into();
        bad.password = Some("short".to_string().into());
        bad.sip_name = Some("Fang!".into());
        bad.work.skills.insert("router".parse().unwrap(), 11);
        bad.work.queues.insert("nowhere".parse().unwrap(), 0);
        let text = add_user(&service, home.id, bad, "boss").await.unwrap_err().to_string();
        for field in [
            "name: not an e-mail",
            "display_name:",
            "role:",
            "password:",
            "sip_name:",
            "skills.router:",
            "queues.nowhere:",
        ] {
            assert!(text.contains(field), "{field} not in {text}");
        }
    });
}

#[test]
fn ending_an_access_ends_sign_in_and_phone() {
    block_on(async {
        let (_, service) = service();
        let (home, _) =
            create_tenant(&service, "demo", "Demo", person("a@example.com", Role::Admin), "op").await.unwrap();
        let mut new = person("fang@example.com", Role::Agent);
        new.password = Some("Correct-Horse-9".to_string().into());
        let added = add_user(&service, home.id, new, "boss").await.unwrap();
        let id = added.user.body.id;
        let changes = PersonChanges { active: Some(false), ..Default::default() };
        let stale = change_user(&service, home.id, id, changes.clone(), Some(9), "boss").await.unwrap_err();
        assert_eq!(code(stale), "version-conflict");
        change_user(&service, home.id, id, changes, Some(1), "boss").await.unwrap();
        assert!(service.ports.identity.sign_in("fang@example.com", "Correct-Horse-9").await.is_err());
        let phone = config::get::<SipUser>(&service, TenantId::PLATFORM, Kind::SIP_USER, "fang.demo").await.unwrap();
        assert!(phone.is_none());
        let back = PersonChanges { active: Some(true), ..Default::default() };
        assert_eq!(code(change_user(&service, home.id, id, back, None, "boss").await.unwrap_err()), "user-ended");
    });
}
