//! The demo tenant, made through the public API: what exists is left as it is.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;

use super::deploy::{self, Stack};
use super::endpoints::{Endpoints, SipAccount, UserAccess};
use crate::client::{Client, Problem, encode};
use crate::place::Place;

/// The number that the demo tenant answers.
const DID: &str = "+861055550100";
const SLUG: &str = "demo";
const OPERATOR: &str = "operator@hotline.example";

/// Passwords of the demo, kept from the moment they are made: a seeding that was interrupted goes on.
#[derive(Default, Serialize, Deserialize)]
struct Secrets {
    passwords: BTreeMap<String, String>,
    sip: BTreeMap<String, SipAccount>,
}

/// The secret by which the media nodes know each other; made once.
///
/// # Errors
/// A file that cannot be read or written.
pub fn fleet_key(place: &Place) -> Result<String> {
    Secrets::read(place)?.password(place, "fleet-key")
}

impl Secrets {
    fn read(place: &Place) -> Result<Self> {
        let file = place.local("demo-secrets.json");
        match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged; start afresh with `hotline reset`", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn write(&self, place: &Place) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let fresh = place.local("demo-secrets.json.new");
        let _ = std::fs::remove_file(&fresh);
        let file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(&file, self)?;
        file.sync_all()?;
        Ok(std::fs::rename(fresh, place.local("demo-secrets.json"))?)
    }

    /// The password of an account, made and kept where there is none.
    fn password(&mut self, place: &Place, name: &str) -> Result<String> {
        if let Some(password) = self.passwords.get(name) {
            return Ok(password.clone());
        }
        let mut bytes = [0; 9];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let password = format!("Demo-{}7a", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
        self.passwords.insert(name.into(), password.clone());
        self.write(place)?;
        Ok(password)
    }
}

struct Person {
    role: &'static str,
    name: &'static str,
    display_name: &'static str,
    queues: &'static [(&'static str, u8)],
    skills: &'static [(&'static str, u8)],
}

const PEOPLE: [Person; 3] = [
    Person { role: "supervisor", name: "lin@demo.example", display_name: "Lin (supervisor)", queues: &[], skills: &[] },
    Person {
        role: "agent",
        name: "fang@demo.example",
        display_name: "Wang Fang 王芳",
        queues: &[("technical", 1), ("general", 2)],
        skills: &[("lang-zh", 9), ("lang-en", 6), ("network", 7)],
    },
    Person {
        role: "agent",
        name: "wei@demo.example",
        display_name: "Li Wei 李伟",
        queues: &[("billing", 1), ("general", 1), ("technical", 3)],
        skills: &[("lang-zh", 9), ("lang-en", 8), ("accounts", 8)],
    },
];

/// Creates what is missing of the demo tenant.
pub fn seed(place: &Place, stack: &Stack) -> Result<(Endpoints, String)> {
    let mut secrets = Secrets::read(place)?;
    let api = Client::new(stack.output("ApiUrl")?);
    let mut made = Vec::new();

    let operator_password = secrets.password(place, OPERATOR)?;
    let operator = match api.sign_in(OPERATOR, &operator_password) {
        Ok(operator) => operator,
        Err(_) => {
            deploy::operator(place, OPERATOR, &operator_password)?;
            made.push("operator");
            api.sign_in(OPERATOR, &operator_password)?
        }
    };
    let admin_name = "admin@demo.example";
    let admin_password = secrets.password(place, admin_name)?;
    if missing(operator.get(&format!("/v1/tenants/{SLUG}")))? {
        operator.post(
            "/v1/tenants",
            &json!({"slug": SLUG, "display_name": "Demo 演示",
                    "admin": {"name": admin_name, "display_name": "Demo admin", "password": admin_password}}),
        )?;
        made.push("tenant");
    }
    let admin = api.sign_in(admin_name, &admin_password).with_context(|| {
        format!(
            "the demo tenant exists, but {} does not hold its password: start afresh with `hotline reset`",
            place.local("demo-secrets.json").display()
        )
    })?;
    configure(place, &admin, &mut made)?;
    let mut users = people(place, &admin, &mut secrets, &mut made)?;
    if missing(admin.get("/v1/flows/demo"))? {
        let text = std::fs::read_to_string(place.root.join("shared/flow/examples/demo.flow.yaml"))?;
        admin.post("/v1/flows/demo/versions", &json!({"text": text}))?;
        made.push("flow with its speech");
    }
    let me = admin.get("/v1/me")?;
    let tenant = me["tenant"].as_str().context("tenant")?.to_owned();
    let dids = operator.get("/v1/dids")?;
    if !items(&dids).any(|d| d["number"] == DID) {
        operator.put(&format!("/v1/dids/{}", encode(DID)), &json!({"tenant": SLUG, "flow": "demo"}))?;
        made.push("number");
    }
    let access = |role: &str, name: &str, password: String| UserAccess {
        role: role.into(),
        name: name.into(),
        password,
        agent: None,
        sip: None,
    };
    users.push(access("admin", admin_name, admin_password));
    users.push(access("operator", OPERATOR, operator_password));
    let endpoints = Endpoints {
        sip: String::new(),
        nodes: Vec::new(),
        browsers: Vec::new(),
        api: stack.output("ApiUrl")?.into(),
        websocket: stack.output("WebSocketUrl")?.into(),
        tenant,
        did: DID.into(),
        users,
        recordings_bucket: stack.output("RecordingsBucket")?.into(),
    };
    Ok((endpoints, if made.is_empty() { "all there".into() } else { format!("made {}", made.join(", ")) }))
}

/// Queues and the office calendar (open day and night until somebody changes it).
fn configure(place: &Place, admin: &Client, made: &mut Vec<&'static str>) -> Result<()> {
    let before = made.len();
    let day = json!([{"from": "00:00", "to": "24:00"}]);
    let week: BTreeMap<&str, &Value> =
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].into_iter().map(|d| (d, &day)).collect();
    if missing(admin.get("/v1/calendars/office"))? {
        admin.put(
            "/v1/calendars/office",
            &json!({"name": "office", "time_zone": "Asia/Shanghai", "weekly": week, "holidays": []}),
        )?;
        made.push("calendar");
    }
    if admin.get("/v1/settings")?["version"] == 0 {
        admin.put("/v1/settings", &json!({"calls": {"country": "CN"}}))?;
        made.push("settings");
    }
    for (name, shown) in [("technical", "Technical 技术"), ("billing", "Billing 账单"), ("general", "General 综合")]
    {
        let path = format!("/v1/queues/{name}");
        if missing(admin.get(&path))? {
            admin.put(
                &path,
                &json!({"name": name, "display_name": shown, "wrap_up_ms": 20_000,
                        "service_level": {"threshold_s": 20, "target_pct": 80}}),
            )?;
            if made.len() == before || made.last() != Some(&"queues") {
                made.push("queues");
            }
        }
    }
    for name in ["network", "accounts"] {
        let path = format!("/v1/skills/{name}");
        if missing(admin.get(&path))? {
            admin
                .put(&path, &json!({"name": name}))
                .with_context(|| format!("skill {name} ({})", place.log("cloud").display()))?;
        }
    }
    Ok(())
}

fn people(
    place: &Place,
    admin: &Client,
    secrets: &mut Secrets,
    made: &mut Vec<&'static str>,
) -> Result<Vec<UserAccess>> {
    let existing = admin.get("/v1/users")?;
    let mut users = Vec::new();
    for person in &PEOPLE {
        let password = secrets.password(place, person.name)?;
        let mut user = items(&existing).find(|u| u["name"] == person.name).cloned();
        if user.is_none() {
            let answer = admin.post(
                "/v1/users",
                &json!({"name": person.name, "display_name": person.display_name, "role": person.role, "password": password,
                        "queues": person.queues.iter().copied().collect::<BTreeMap<_, _>>(),
                        "skills": person.skills.iter().copied().collect::<BTreeMap<_, _>>()}),
            )?;
            keep_phone(place, secrets, person.name, &answer["sip"])?;
            user = Some(answer["user"].clone());
            if made.last() != Some(&"people") {
                made.push("people");
            }
        }
        let user = user.unwrap_or_default();
        if !secrets.sip.contains_key(person.name) {
            let id = user["id"].as_str().context("user id")?;
            let answer = admin.post(&format!("/v1/users/{id}/sip-password"), &json!({}))?;
            keep_phone(place, secrets, person.name, &answer)?;
        }
        users.push(UserAccess {
            role: person.role.into(),
            name: person.name.into(),
            password,
            agent: user["agent"].as_str().map(str::to_owned),
            sip: secrets.sip.get(person.name).cloned(),
        });
    }
    Ok(users)
}

fn keep_phone(place: &Place, secrets: &mut Secrets, name: &str, sip: &Value) -> Result<()> {
    if let (Some(user), Some(password)) = (sip["user"].as_str(), sip["password"].as_str()) {
        secrets.sip.insert(name.into(), SipAccount { user: user.into(), password: password.into() });
        secrets.write(place)?;
    }
    Ok(())
}

fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

/// Whether a read answered 404.
fn missing(answer: Result<Value>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) => match error.downcast_ref::<Problem>() {
            Some(problem) if problem.status == 404 => Ok(true),
            _ => Err(error),
        },
    }
}
