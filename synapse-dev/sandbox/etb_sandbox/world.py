"""Who and what the sandbox is seeded with, as plain tables. seed.py turns them into rows."""

SERVICE = "etb-chat"
MAIN_ROTATION = "Platform primary"

LEVELS = {
    "PUBLIC": "May be shown to anyone.",
    "INTERNAL": "For everyone in the company.",
    "CONFIDENTIAL": "For those who work on the matter.",
    "RESTRICTED": "For named people only.",
    "TOP_SECRET": "For the crisis team.",
}

# username, first name, last name, department, job title, clearance, roles
PEOPLE = (
    ("alice", "Alice", "Okafor", "Operations", "Incident commander", "RESTRICTED", ["Incident Commander"]),
    ("bob", "Bob", "Lindqvist", "Platform", "Site reliability engineer", "CONFIDENTIAL", ["Responder"]),
    ("carol", "Carol", "Mendes", "Security", "Security analyst", "RESTRICTED", ["Responder", "Security Analyst"]),
    ("dave", "Dave", "Kowalski", "Platform", "Database administrator", "INTERNAL", ["Responder"]),
    ("erin", "Erin", "Haddad", "Legal", "Compliance officer", "TOP_SECRET", ["Compliance Officer"]),
    ("frank", "Frank", "Iyer", "Network", "Network engineer", "CONFIDENTIAL", ["Responder"]),
    ("grace", "Grace", "Tanaka", "Audit", "Internal auditor", "RESTRICTED", ["Auditor"]),
    (
        "heidi",
        "Heidi",
        "Brandt",
        "Service desk",
        "Service desk agent",
        "INTERNAL",
        [{"id": 3, "name": "Responder"}],
    ),
    ("ivan", "Ivan", "Petrov", "Platform", "Former engineer", "INTERNAL", ["Responder"]),
    ("mallory", "Mallory", "Quist", "Partner", "Contractor", "PUBLIC", ["Responder"]),
    ("olivia", "Olivia", "Marsh", "Operations", "ETB administrator", "TOP_SECRET", ["Administrator"]),
    (SERVICE, "ETB", "Chat", "Operations", "Service account", "TOP_SECRET", ["Service"]),
)

# name, description, steps, outcome, status, needs approval
RUNBOOKS = (
    ("Restart API gateway", "Drains and restarts the gateway's nodes one by one.",
     ["Drain node", "Restart", "Health check"], "COMPLETED", "ACTIVE", False),
    ("Restart billing", "Restarts the billing workers.",
     ["Stop workers", "Start workers"], "COMPLETED", "ACTIVE", False),
    ("Restart Billing", "Restarts the billing web front end.", ["Rolling restart"], "COMPLETED", "ACTIVE", False),
    ("Collect diagnostics", "Gathers logs and heap dumps; changes nothing.",
     ["Logs", "Heap dump", "Upload"], "COMPLETED", "ACTIVE", False),
    ("Failover billing database", "Promotes the replica. Loses writes that were not replicated.",
     ["Fence primary", "Promote replica", "Repoint services", "Verify"], "COMPLETED", "ACTIVE", True),
    ("Rotate edge certificates", "Renews and deploys the edge certificates.",
     ["Renew", "Deploy"], "FAILED", "ACTIVE", False),
    ("Rebuild search index", "Builds the index anew and never comes to an end.",
     ["Snapshot", "Rebuild", "Swap"], "NEVER", "ACTIVE", False),
    ("Scale out a service", "Adds nodes to a service and lets the load balancer know.",
     ["Add nodes", "Join the balancer"], "COMPLETED", "ACTIVE", False),
    ("Old cache purge", "Replaced by the gateway's own purge.", ["Purge"], "COMPLETED", "DEPRECATED", False),
)  # fmt: skip

# by name of the runbook, as JSON Schema
PARAMETERS = {
    "Failover billing database": {
        "type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"],
    },
    "Scale out a service": {
        "type": "object",
        "properties": {
            "service": {"type": "string", "title": "Which service", "enum": ["api-gateway", "search", "web"]},
            "nodes": {"type": "integer", "title": "How many nodes", "default": 2, "minimum": 1},
        },
        "required": ["service"],
    },
}  # fmt: skip

# title, type, category, services, classification, summary, content
ARTICLES = (
    ("Database connection pool exhausted", "TROUBLESHOOTING", "Infrastructure", ["billing-db"], "INTERNAL",
     "What to do when every connection is taken.",
     "1. Look for idle transactions in `pg_stat_activity`.\n2. End those older than ten minutes."),
    ("Failing over the billing database", "RUNBOOK", "Infrastructure", ["billing-db"], "CONFIDENTIAL",
     "When and how to promote the replica.",
     "Check replication lag first. Above 30 seconds ask the commander. Then run *Failover billing database*."),
    ("API gateway answers 502", "TROUBLESHOOTING", "Application", ["api-gateway"], "INTERNAL",
     "Causes of bad gateway answers and their order.",
     "1. Upstream down: see its health page.\n2. Load: scale out.\n3. Certificate expired: rotate it."),
    ("Responding to leaked credentials", "BEST_PRACTICE", "Security", ["identity"], "CONFIDENTIAL",
     "Contain first, then count the damage.",
     "Revoke, rotate, search the logs for use, tell the data protection officer."),
    ("Writing a good status update", "HOW_TO", "User Experience", [], "PUBLIC",
     "Three sentences that help.", "What is broken, who notices, when you speak again. No guesses about causes."),
    ("Ransomware: first hour", "RUNBOOK", "Security", ["file-storage"], "RESTRICTED",
     "Isolation of hosts and the crisis team's numbers.", "Isolate, don't switch off. Wake the crisis team."),
    ("Certificates and how they expire", "FAQ", "Infrastructure", ["edge"], "PUBLIC",
     "Questions asked after every outage.", "They expire at noon on a Saturday. Renew thirty days before."),
    ("Message queue backlog", "TROUBLESHOOTING", "Integration", ["billing-queue"], "INTERNAL",
     "Find the slow consumer.",
     "Compare publish and acknowledge rates per consumer; restart the one that stands still."),
    ("Data export stuck", "TROUBLESHOOTING", "Data", ["export"], "INTERNAL", "Exports that never finish.",
     "Look for locks on the export table; cancel and start again with a smaller range."),
    ("Lessons of the November gateway outage", "LESSON_LEARNED", "Application", ["api-gateway"], "INTERNAL",
     "Alerts came from customers.", "Alert on the rate of 5xx at the edge, not on CPU."),
    ("Phishing wave: draft notes", "HOW_TO", "Security", ["mail"], "INTERNAL", "Not finished.", "To be written."),
)  # fmt: skip

# key, title, severity, priority, category, status, age in minutes, reporter, assignee, classification, services
INCIDENTS = (
    ("gateway", "API gateway answers 502 for one request in five", "CRITICAL", "P1", "Application", "OPEN", 12,
     "heidi", "alice", "INTERNAL", ["api-gateway"]),
    ("leak", "Customer records found on a public file share", "CRITICAL", "P1", "Security", "IN_PROGRESS", 130,
     "carol", "carol", "RESTRICTED", ["file-storage"]),
    ("billing", "Billing database has no free connections", "HIGH", "P2", "Infrastructure", "IN_PROGRESS", 400,
     "bob", "dave", "INTERNAL", ["billing-db"]),
    ("phish", "Phishing mails in the name of the payroll department", "HIGH", "P2", "Security", "OPEN", 40,
     "heidi", "carol", "CONFIDENTIAL", ["mail"]),
    ("search", "Search results are a day old", "MEDIUM", "P3", "Data", "OPEN", 65,
     "heidi", "bob", None, ["search"]),
    ("invoice", "Invoice page misaligned in one browser", "LOW", "P4", "User Experience", "OPEN", 600,
     "mallory", None, "PUBLIC", ["web"]),
    ("cert", "Edge certificate expires in 20 days", "INFO", "P4", "Infrastructure", "OPEN", 1500,
     "frank", "frank", "PUBLIC", ["edge"]),
    ("power", "Data centre north runs on battery", "EMERGENCY", "P1", "Infrastructure", "ACKNOWLEDGED", 9,
     "olivia", "alice", "CONFIDENTIAL", ["datacentre-north"]),
    ("queue", "Billing queue backlog", "HIGH", "P2", "Integration", "RESOLVED", 3000,
     "bob", "bob", "INTERNAL", ["billing-queue"]),
    ("export", "Nightly data export failed", "MEDIUM", "P3", "Data", "CLOSED", 9000,
     "dave", "dave", "INTERNAL", ["export"]),
)  # fmt: skip
