//! Schemas of domain documents, whose types know nothing of OpenAPI.

use serde_json::{Map, Value, json};

/// An object's schema from `name: meaning` lines; a name with `?` may be absent, a type stands
/// before the meaning where it is not text.
fn object(description: &str, fields: &[(&str, &str, &str)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, kind, meaning) in fields {
        let (name, optional) = name.strip_suffix('?').map_or((*name, false), |n| (n, true));
        let mut schema = match *kind {
            "ms" => json!({"type": "integer", "format": "int64"}),
            "list" => json!({"type": "array", "items": {}}),
            "texts" => json!({"type": "array", "items": {"type": "string"}}),
            "any" => json!({}),
            kind => json!({"type": kind}),
        };
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".into(), json!(meaning));
        }
        properties.insert(name.into(), schema);
        if !optional {
            required.push(name);
        }
    }
    json!({"type": "object", "description": description, "properties": properties, "required": required})
}

/// Schemas by name.
pub(super) fn documents() -> Vec<(&'static str, Value)> {
    vec![
        ("Health", object("The API answers.", &[("status", "string", "`ok`.")])),
        (
            "Queue",
            object(
                "A queue; every field but the name has a default.",
                &[
                    ("name?", "string", "As in the path."),
                    ("display_name?", "string", "Shown on phones and consoles."),
                    ("required?", "list", "Skills an agent must have: skill, level, relax."),
                    ("preferred?", "list", "Skills an agent had better have."),
                    ("language?", "string", "preferred, required or ignored."),
                    ("selection?", "string", "longest-idle or lowest-occupancy."),
                    ("priority?", "string", "credit or strict."),
                    ("ring_timeout_ms?", "integer", "How long a phone rings, 5,000 to 120,000."),
                    ("wrap_up_ms?", "integer", "After-contact work granted."),
                    ("service_level?", "object", "threshold_s and target_pct."),
                    ("service_model?", "string", "human, automated or hybrid: who serves it."),
                    (
                        "hand_over?",
                        "list",
                        "When a hybrid queue hands over to people, any of: staffed, free, estimated_wait (at_most_ms), class (at_least), asked (times).",
                    ),
                    ("overflow?", "list", "What happens when it cannot keep up."),
                    ("max_waiting?", "integer", "Turned away beyond this length."),
                    ("max_wait_ms?", "integer", "The longest wait."),
                    ("recording?", "string", "always or never."),
                    ("thresholds?", "list", "Facts raised and cleared with hysteresis."),
                    (
                        "callback?",
                        "object",
                        "How people are called back: first (agent or party), attempts, retry_after_ms, ring_timeout_ms, hours (a calendar), flow (with the party first: asked whether it is there), allowed and forbidden prefixes.",
                    ),
                    ("next_tier?", "string", "The queue of the next line of support."),
                    ("shards?", "integer", "Parts of its lists, 1 to 16: several above 100 calls/s; never lowered."),
                ],
            ),
        ),
        (
            "Skill",
            object("A skill.", &[("name?", "string", "As in the path."), ("description?", "string", "What it is.")]),
        ),
        (
            "Calendar",
            object(
                "When a tenant works.",
                &[
                    ("name?", "string", "As in the path."),
                    ("time_zone", "string", "An IANA name such as Asia/Shanghai."),
                    ("weekly", "object", "Hours by day, mon to sun: a list of from and to, HH:MM."),
                    ("holidays?", "list", "Dates that differ: date, label, hours; no hours: closed."),
                ],
            ),
        ),
        (
            "Policy",
            object(
                "An SLA policy; new tickets follow the one called default.",
                &[
                    ("name?", "string", "As in the path."),
                    ("targets", "object", "For urgent, high, medium and low: response_min and resolution_min."),
                    ("counts?", "object", "basis: all_time, or business with a calendar."),
                    ("reminder_before_min", "integer", "A reminder comes so long before a deadline."),
                    ("escalate_to", "integer", "The tier that gets a ticket whose deadline passed."),
                ],
            ),
        ),
        (
            "VipList",
            object(
                "Numbers that flows treat with preference.",
                &[("name?", "string", "As in the path."), ("numbers", "texts", "E.164.")],
            ),
        ),
        (
            "Settings",
            object(
                "What a tenant sets for itself as a whole; every field has a default.",
                &[
                    (
                        "calls?",
                        "object",
                        "country (ISO 3166-1, such as CN: national numbers are read as its), allowed and forbidden prefixes of numbers that may be called.",
                    ),
                    (
                        "limits?",
                        "object",
                        "per_caller and anonymous (at_once, per_minute), calls_at_once of the tenant, exempt_lists (VIP lists).",
                    ),
                    (
                        "tap?",
                        "string",
                        "caller, callee or both: whose voices of its calls nodes hand to their speech engine. Without it: nobody's.",
                    ),
                ],
            ),
        ),
        (
            "Flood",
            object(
                "A caller whose calls were not let in within a minute.",
                &[
                    ("at", "ms", "The last refusal of the minute."),
                    ("call", "string", "The call that it was."),
                    ("did", "string", "The dialled number."),
                    ("from", "string", "The caller's number; empty where withheld."),
                    ("counted_as", "string", "The number, or where an anonymous call came from."),
                    ("limit", "string", "caller-at-once, caller-per-minute or tenant-at-once."),
                    ("most", "integer", "What that limit is."),
                ],
            ),
        ),
        (
            "FlowReport",
            object(
                "Findings about the text of a flow.",
                &[
                    ("publishable", "boolean", "No finding is an error."),
                    ("findings", "list", "line, column, code, message, remedy, severity."),
                ],
            ),
        ),
        (
            "FlowView",
            object(
                "A flow.",
                &[
                    ("name", "string", "Its name."),
                    ("current", "integer", "The version that new calls run."),
                    ("latest", "integer", "The highest version."),
                    ("at", "ms", "When this was decided."),
                    ("by", "string", "By whom."),
                ],
            ),
        ),
        (
            "FlowPublished",
            object(
                "What was published.",
                &[
                    ("name", "string", "The flow."),
                    ("version", "integer", "The version that is now current."),
                    ("hash", "string", "SHA-256 of the canonical text."),
                    ("spoken", "integer", "Texts that were synthesised."),
                    ("warnings", "list", "What somebody should look at."),
                ],
            ),
        ),
        (
            "FlowVersionSummary",
            object(
                "A version in a list.",
                &[
                    ("flow", "string", "The flow."),
                    ("version", "integer", "The version."),
                    ("hash", "string", "SHA-256 of the canonical text."),
                    ("published_at", "ms", "When."),
                    ("by", "string", "By whom."),
                ],
            ),
        ),
        (
            "FlowVersionView",
            object(
                "A version with its text.",
                &[
                    ("name", "string", "The flow."),
                    ("version", "integer", "The version."),
                    ("hash", "string", "SHA-256 of the canonical text."),
                    ("text", "string", "As it was written."),
                    ("canonical", "string", "As it runs, subflows included."),
                    ("published_at", "ms", "When."),
                    ("by", "string", "By whom."),
                ],
            ),
        ),
        (
            "FlowDiff",
            object(
                "What changed in meaning.",
                &[
                    ("name", "string", "The flow."),
                    ("from", "integer", "The older version."),
                    ("to", "integer", "The newer version."),
                    ("changes", "list", "kind, subject, field, before, after."),
                    ("lines", "texts", "The same for people."),
                ],
            ),
        ),
        (
            "PromptView",
            object(
                "An uploaded prompt.",
                &[
                    ("name", "string", "What flows call it."),
                    ("duration_ms", "integer", "Its length."),
                    ("version", "integer", "Changes with each upload."),
                ],
            ),
        ),
        (
            "AgentView",
            object(
                "An agent in a list.",
                &[
                    ("agent", "string", "Its id."),
                    ("display_name", "string", "Shown to colleagues."),
                    ("state", "string", "offline, available, offered, busy, wrap_up, away or standby."),
                    ("reason?", "string", "Why, where away."),
                    ("since", "ms", "Since when."),
                    ("queues", "texts", "Queues served."),
                    ("phone", "boolean", "A phone is registered."),
                ],
            ),
        ),
        (
            "AgentState",
            object(
                "An agent.",
                &[
                    ("agent", "string", "Its id."),
                    ("display_name", "string", "Shown to colleagues."),
                    ("sip_user", "string", "The phone's user name."),
                    ("state", "object", "state and what belongs to it: offer, contact, queue, until, reason."),
                    ("since", "ms", "Since when."),
                    ("phone", "boolean", "A phone is registered."),
                    ("skills", "object", "Skill and level."),
                    ("queues", "texts", "Queues served."),
                ],
            ),
        ),
        (
            "QueueState",
            object(
                "A queue now; counting stops at 500.",
                &[
                    ("queue", "string", "Its name."),
                    ("waiting", "integer", "Contacts that wait."),
                    ("longest_wait_ms", "ms", "The longest wait."),
                    ("staffed", "integer", "Agents at work for it."),
                    ("free", "integer", "Agents free for it."),
                ],
            ),
        ),
        ("ContactView", object("A contact in a list.", CONTACT)),
        (
            "ContactDetail",
            object(
                "A contact.",
                &[
                    CONTACT,
                    &[
                        ("flow", "object", "Name and version of the flow it runs."),
                        ("interactions", "list", "Conversations: offer, agent, queue, talk_ms."),
                        ("recordings", "list", "recording, kind, agent, status."),
                        ("survey?", "integer", "The caller's score."),
                        (
                            "on_call",
                            "list",
                            "Everybody on the call or rung for it: offer, and agent or the number of somebody outside.",
                        ),
                        ("transfers", "integer", "Transfers so far."),
                        ("callback_of?", "string", "The contact that this call back was promised to."),
                        ("ticket", "string", "The id of its ticket, which is opened at its end."),
                    ],
                ]
                .concat(),
            ),
        ),
        (
            "Trace",
            object(
                "A history.",
                &[
                    ("steps", "list", "Oldest first: at, after_ms, fact, body, place."),
                    ("ladder", "texts", "One line a step, for people."),
                ],
            ),
        ),
        (
            "Why",
            object(
                "The routing decisions about a contact.",
                &[
                    ("contact", "string", "Which."),
                    ("decisions", "list", "offer, at, queue, decision, replay_agrees, lines."),
                ],
            ),
        ),
        (
            "Replay",
            object(
                "The routing decisions about a contact, decided again.",
                &[
                    ("contact", "string", "Which."),
                    ("agrees", "boolean", "All are byte for byte the same."),
                    (
                        "decisions",
                        "list",
                        "offer, at, queue, agrees, bytes, stored_sha256, replayed_sha256, stored, replayed.",
                    ),
                ],
            ),
        ),
        (
            "WhatIf",
            object(
                "A period and what is different about it.",
                &[
                    ("from?", "any", "First moment, RFC 3339 or milliseconds; a day before `to` where absent."),
                    ("to?", "any", "Last moment, exclusive; now where absent."),
                    (
                        "rules?",
                        "object",
                        "queues: fields that change, by queue; agents: skills and queues, by agent; staffing: a list of add or remove.",
                    ),
                ],
            ),
        ),
        (
            "Comparison",
            object(
                "A period as recorded, run again under the present rules, and under the others.",
                &[
                    ("from", "ms", "Calls that came from here on"),
                    ("to", "ms", "and before this."),
                    ("calls", "integer", "Calls that were run."),
                    ("agents", "integer", "Agents who were there."),
                    ("truncated", "boolean", "There were more calls; only the first ones were run."),
                    ("method", "texts", "What was taken over and what assumed."),
                    ("recorded", "object", "total, queues, occupancy_pct, intervals; as it was."),
                    ("present", "object", "The same under the present rules: how good the model is."),
                    ("changed", "object", "The same under the other rules."),
                ],
            ),
        ),
        (
            "Alarm",
            object(
                "A threshold of a queue that is passed now.",
                &[
                    ("queue", "string", "Which queue."),
                    ("metric", "string", "waiting, longest-wait-s, service-level-pct or abandoned-pct."),
                    ("raise", "integer", "The value that counts as bad."),
                    ("clear", "integer", "The value at which it is over."),
                    ("value", "integer", "The value that raised it."),
                    ("since", "ms", "Since when."),
                ],
            ),
        ),
        (
            "RecordingView",
            object(
                "A recording of a contact.",
                &[
                    ("recording", "string", "Its id."),
                    ("kind", "string", "call or voicemail."),
                    ("agent?", "string", "Of whose talk."),
                    ("status", "string", "running, delivered, saved or failed."),
                    ("contact?", "string", "Its contact, in lists over contacts."),
                    ("arrived_at?", "ms", "When the contact came, in lists over contacts."),
                ],
            ),
        ),
        (
            "NewTicket",
            object(
                "A ticket to open.",
                &[
                    ("subject", "string", "One line, at most 200 characters."),
                    ("category?", "string", "What it is about."),
                    ("kind?", "string", "hardware, software, network, consulting, complaint, suggestion or other."),
                    ("priority?", "string", "urgent, high, medium or low; medium where absent."),
                    ("requester?", "object", "party, number, name."),
                    ("owner?", "string", "An agent."),
                    ("queue?", "string", "A group."),
                    (
                        "contact?",
                        "string",
                        "The contact it is about; its one ticket is opened, or linked where it exists.",
                    ),
                    ("custom?", "object", "The tenant's own fields: texts by name."),
                ],
            ),
        ),
        ("TicketAction", ticket_action()),
        (
            "TicketView",
            object(
                "A ticket in a list.",
                &[
                    ("id", "string", "Its id."),
                    ("subject", "string", "One line."),
                    ("status", "string", "new, open, pending, resolved, closed or reopened."),
                    ("priority", "string", "urgent, high, medium or low."),
                    ("tier", "integer", "1, 2 or 3."),
                    ("kind", "string", "What kind of matter."),
                    ("category?", "string", "What it is about."),
                    ("owner?", "string", "Who has it."),
                    ("queue?", "string", "Which group has it."),
                    ("number?", "string", "The requester's number."),
                    ("created_at", "ms", "When it was opened."),
                    ("deadline?", "ms", "The next deadline that is still open."),
                    ("breached", "boolean", "A promise was broken."),
                ],
            ),
        ),
        (
            "Ticket",
            object(
                "A ticket.",
                &[
                    ("id", "string", "Its id."),
                    ("created_at", "ms", "When it was opened."),
                    ("received_at", "ms", "When the customer turned to us; the clocks start here."),
                    ("subject", "string", "One line."),
                    ("category?", "string", "What it is about."),
                    ("kind", "string", "What kind of matter."),
                    ("priority", "string", "How soon it matters."),
                    ("status", "string", "Where it stands."),
                    ("tier", "integer", "Which line of support has it."),
                    ("requester", "object", "party, number, name."),
                    ("owner?", "string", "Who works on it."),
                    ("queue?", "string", "Which group has it."),
                    ("contacts", "texts", "The contacts about it."),
                    ("recordings", "texts", "Their recordings."),
                    ("notes", "list", "The newest part of the work log."),
                    ("promises", "list", "What the customer was promised."),
                    ("custom", "object", "The tenant's own fields."),
                    ("survey_score?", "integer", "The caller's rating."),
                    ("verification?", "object", "solved, system_normal, no_side_effects."),
                    ("response", "object", "The response clock: target_ms, phase, deadline, breached_at."),
                    ("resolution", "object", "The resolution clock."),
                ],
            ),
        ),
        (
            "DeadlineExplanations",
            object(
                "How two deadlines came about.",
                &[("response", "object", "deadline and lines."), ("resolution", "object", "deadline and lines.")],
            ),
        ),
        (
            "SummaryReport",
            object(
                "A summary of a period.",
                &[
                    ("from", "ms", "The first moment."),
                    ("to", "ms", "The last moment, exclusive."),
                    ("interval_ms", "integer", "Width of the intervals."),
                    ("contacts", "integer", "Contacts that came."),
                    ("ended", "integer", "Contacts that are over."),
                    ("refused_by_caller", "integer", "Calls not let in: too many of one caller."),
                    ("refused_by_tenant", "integer", "Calls not let in: too many of the tenant."),
                    ("contacts_answered", "integer", "Contacts that spoke to an agent."),
                    (
                        "total",
                        "object",
                        "All queues: offered, answered, abandoned, service_level_pct, mean_wait_ms, mean_handle_ms and more.",
                    ),
                    ("queues", "object", "The same for each queue."),
                    ("intervals", "list", "The same for each interval, with its start."),
                    ("tickets", "object", "opened, resolved, closed, escalated, response_in_time_pct and more."),
                ],
            ),
        ),
        (
            "AgentReport",
            object(
                "Figures of each agent.",
                &[
                    ("from", "ms", "The first moment."),
                    ("to", "ms", "The last moment, exclusive."),
                    ("agents", "list", "agent and figures."),
                ],
            ),
        ),
    ]
}

const CONTACT: &[(&str, &str, &str)] = &[
    ("contact", "string", "Its id."),
    ("arrived_at", "ms", "When it came."),
    ("from", "string", "The caller's number; empty where withheld."),
    ("did", "string", "The dialled number."),
    ("phase", "string", "in_flow, waiting, offered, talking or ended."),
    ("queue?", "string", "The last queue."),
    ("agent?", "string", "Who has it or had it last."),
    ("lang", "string", "zh or en."),
    ("category?", "string", "From the flow."),
    ("ended_at?", "ms", "When it ended."),
];

fn ticket_action() -> Value {
    type Fields<'a> = &'a [(&'a str, &'a str, &'a str)];
    let actions: [(&str, &str, Fields<'_>); 12] = [
        (
            "comment",
            "Adds to the work log.",
            &[
                ("text", "string", "The text."),
                ("kind?", "string", "note, action or reply; a reply is the first response."),
            ],
        ),
        (
            "assign",
            "Gives it to somebody; what is absent stays.",
            &[("owner?", "string", "An agent."), ("queue?", "string", "A group."), ("tier?", "integer", "1, 2 or 3.")],
        ),
        ("set_status", "Moves it on.", &[("status", "string", "Where to.")]),
        (
            "set_fields",
            "Changes fields; what is absent stays.",
            &[
                ("subject?", "string", "One line."),
                ("category?", "string", "What it is about."),
                ("kind?", "string", "What kind."),
                ("priority?", "string", "Moves the deadlines."),
                ("requester?", "object", "Who wants it."),
                ("custom?", "object", "null removes a field."),
            ],
        ),
        (
            "verify",
            "Checks the solution; needed before closing.",
            &[
                ("solved", "boolean", "The problem is solved."),
                ("system_normal", "boolean", "The system works."),
                ("no_side_effects", "boolean", "Nothing else broke."),
            ],
        ),
        ("escalate", "Hands it to the next tier.", &[("reason", "string", "Why.")]),
        ("first_response", "The customer was answered.", &[("at", "ms", "When.")]),
        ("link_contact", "One more contact is about it.", &[("contact", "string", "Which.")]),
        ("link_recording", "A recording belongs to it.", &[("recording", "string", "Which.")]),
        ("rate", "The caller rated it.", &[("score", "integer", "1 to 5.")]),
        ("promise", "Promises the customer something.", &[("text", "string", "What."), ("due?", "ms", "By when.")]),
        ("keep_promise", "A promise was kept.", &[("index", "integer", "Its place, from 0.")]),
    ];
    let one = |(name, meaning, fields): (&str, &str, Fields<'_>)| {
        let mut schema = object(meaning, fields);
        if let Some(map) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            map.insert("action".into(), json!({"const": name}));
        }
        if let Some(list) = schema.get_mut("required").and_then(Value::as_array_mut) {
            list.push(json!("action"));
        }
        schema
    };
    json!({"description": "What to do to a ticket.", "oneOf": actions.map(one)})
}
