// An independent Matrix client: matrix-js-sdk and its Rust crypto, the crypto of Element, written by others.
//
// It is driven by JSON lines: one request {"id": 1, "op": "join", ...} on stdin, one reply {"id": 1, "ok": ...} or
// {"id": 1, "error": "..."} on stdout; {"event": "ready"} once at start. Logs go to stderr. It keeps everything in
// memory and shares no code with etb_appservice, so that it can testify about it.

import { createCipheriv, createDecipheriv, createHash, randomBytes, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";

for (const level of ["log", "info", "debug", "trace", "warn"]) {
    console[level] = (...parts) => console.error(...parts); // stdout belongs to the protocol
}

const sdk = await import("matrix-js-sdk");
const api = await import("matrix-js-sdk/lib/crypto-api/index.js");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.setLevel(process.env.CLIENT_LOG ?? "error");

const SYNC_LIMIT_MS = 30_000;

let client = null;
let password = null;
let secretStorageKey = null; // [key id, bytes]
let arrivals = 0;
const events = new Map(); // event id -> {event, seq}
const order = []; // the same entries as they arrived
const waiters = new Set(); // functions, called when anything has changed

let held = null; // functions that send the to-device requests that are kept back; null: they leave at once
const fetchAtOnce = globalThis.fetch;

globalThis.fetch = (resource, options) => {
    if (held === null || !String(resource).includes("/sendToDevice/")) return fetchAtOnce(resource, options);
    held.push(() => fetchAtOnce(resource, { ...options, signal: undefined }));
    return Promise.resolve(new Response("{}", { headers: { "Content-Type": "application/json" } }));
};

function say(line) {
    process.stdout.write(JSON.stringify(line) + "\n");
}

function changed() {
    for (const waiter of [...waiters]) waiter();
}

/** The first truthy answer of `look`, asked again whenever an event arrives; an error after `timeout` ms. */
function until(look, timeout, what) {
    return new Promise((resolve, reject) => {
        let timer = null;
        const done = (settle, value) => {
            waiters.delete(attempt);
            clearTimeout(timer);
            settle(value);
        };
        const attempt = () => {
            try {
                const found = look();
                if (found) done(resolve, found);
            } catch (error) {
                done(reject, error);
            }
        };
        timer = setTimeout(() => done(reject, new Error(`waited ${timeout} ms in vain for ${what()}`)), timeout);
        waiters.add(attempt);
        attempt();
    });
}

function remember(event) {
    const id = event.getId();
    if (!id || event.status !== null) return; // our own, and the homeserver has not shown it back yet
    if (!events.has(id)) {
        const entry = { event, seq: ++arrivals };
        events.set(id, entry);
        order.push(entry);
    }
    changed();
}

function describe({ event, seq }) {
    return {
        seq,
        room_id: event.getRoomId(),
        event_id: event.getId(),
        sender: event.getSender(),
        type: event.getType(),
        wire_type: event.getWireType(),
        state_key: event.getStateKey() ?? null,
        content: event.getOriginalContent(),
        current_content: event.getContent(),
        relates_to: event.getOriginalContent()["m.relates_to"] ?? event.getWireContent()["m.relates_to"] ?? null,
        ts: event.getTs(),
        age: event.getUnsigned().age ?? null,
        encrypted: event.isEncrypted(),
        pending: event.isEncrypted() && (event.isBeingDecrypted() || event.shouldAttemptDecryption()),
        redacted: event.isRedacted(),
        failure: event.isDecryptionFailure()
            ? { reason: event.decryptionFailureReason, message: String(event.getContent().body ?? "") }
            : null,
    };
}

function matches(found, want) {
    const relation = found.relates_to ?? {};
    const bodies = [found.content.body, found.content.formatted_body, found.current_content.body];
    return (
        (want.room === undefined || found.room_id === want.room) &&
        (want.sender === undefined || found.sender === want.sender) &&
        (want.type === undefined || found.type === want.type) &&
        (want.stateKey === undefined || found.state_key === want.stateKey) &&
        (want.eventId === undefined || found.event_id === want.eventId) &&
        (want.body === undefined || bodies.some((b) => typeof b === "string" && b.includes(want.body))) &&
        (want.thread === undefined || (relation.rel_type === "m.thread" && relation.event_id === want.thread)) &&
        (want.replyTo === undefined || relation["m.in_reply_to"]?.event_id === want.replyTo) &&
        (want.editOf === undefined || (relation.rel_type === "m.replace" && relation.event_id === want.editOf)) &&
        (want.relatesTo === undefined ||
            relation.event_id === want.relatesTo ||
            relation["m.in_reply_to"]?.event_id === want.relatesTo) &&
        (want.afterTs === undefined || found.ts > want.afterTs) &&
        (want.since === undefined || found.seq > want.since)
    );
}

function settled(found, want) {
    if (found.failure) return want.failure === true;
    return !found.pending && want.failure !== true;
}

function roomOf(id) {
    const room = client.getRoom(id);
    if (!room) throw new Error(`no room ${id} here`);
    return room;
}

function eventOf(id) {
    const entry = events.get(id);
    if (!entry) throw new Error(`no event ${id} here`);
    return entry;
}

/** Whether the homeserver was away: it may have taken the message all the same. */
const isAway = (error) => error?.name === "ConnectionError";

/** A message that did not get through is sent again under its own transaction id, as people's clients do. */
async function send(room, type, content, patience = 20_000) {
    const txnId = client.makeTxnId();
    const until = performance.now() + patience;
    let failure;
    try {
        return { event_id: (await client.sendEvent(room, null, type, content, txnId)).event_id };
    } catch (error) {
        failure = error;
    }
    while (isAway(failure) && performance.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        const found = client.getRoom(room);
        const event = found?.getLiveTimeline().getEvents().find((one) => one.getTxnId() === txnId);
        if (!event) break;
        if (event.status === null) return { event_id: event.getId() }; // it has come back by /sync
        try {
            return { event_id: (await client.resendEvent(event, found)).event_id };
        } catch (error) {
            failure = error;
        }
    }
    throw failure;
}

function messageContent(request) {
    const content = request.content ?? { msgtype: request.msgtype ?? "m.text", body: request.body };
    const relation = {};
    if (request.thread) {
        Object.assign(relation, { rel_type: "m.thread", event_id: request.thread, is_falling_back: !request.replyTo });
        relation["m.in_reply_to"] = { event_id: request.replyTo ?? request.thread };
    } else if (request.replyTo) {
        relation["m.in_reply_to"] = { event_id: request.replyTo };
    }
    return Object.keys(relation).length ? { ...content, "m.relates_to": relation } : content;
}

async function setUpIdentity(request, answer) {
    const crypto = client.getCrypto();
    const authUploadDeviceSigningKeys = (makeRequest) =>
        makeRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: client.getUserId() },
            password,
        });
    if (request.recoveryKey) {
        // The same person on one more device: the identity comes out of secret storage and signs this device.
        const [keyId] = await client.secretStorage.getKey();
        secretStorageKey = [keyId, api.decodeRecoveryKey(request.recoveryKey)];
        await crypto.userHasCrossSigningKeys(client.getUserId(), true); // private keys need the public ones at hand
    }
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys });
    if (request.createRecoveryKey) {
        const key = await crypto.createRecoveryKeyFromPassphrase();
        await crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => key,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        answer.recovery_key = key.encodedPrivateKey;
    }
    if (request.recoveryKey) {
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await crypto.checkKeyBackupAndEnable();
    }
}

const operations = {
    async login(request) {
        if (client) throw new Error("already logged in");
        password = request.password;
        const bare = sdk.createClient({ baseUrl: request.homeserver });
        const session = await bare.loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: request.user },
            password,
            initial_device_display_name: request.deviceName ?? "matrix-js-sdk test client",
        });
        client = sdk.createClient({
            baseUrl: request.homeserver,
            userId: session.user_id,
            deviceId: session.device_id,
            accessToken: session.access_token,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) =>
                    secretStorageKey && secretStorageKey[0] in keys ? secretStorageKey : null,
                cacheSecretStorageKey: (keyId, _info, key) => {
                    secretStorageKey = [keyId, key];
                },
            },
        });
        await client.initRustCrypto({ useIndexedDB: false });
        client.on(sdk.RoomEvent.Timeline, (event) => remember(event));
        client.on(sdk.MatrixEventEvent.Decrypted, (event) => remember(event));
        client.on(sdk.RoomEvent.LocalEchoUpdated, (event) => remember(event));
        client.on(sdk.RoomEvent.MyMembership, changed);
        client.on(sdk.ClientEvent.Sync, changed);
        const answer = { user_id: session.user_id, device_id: session.device_id, recovery_key: null };
        await client.startClient({ initialSyncLimit: 50, disablePresence: true, pollTimeout: 20_000 });
        await until(() => client.isInitialSyncComplete(), SYNC_LIMIT_MS, () => "the first sync");
        if (request.crossSigning !== false) await setUpIdentity(request, answer);
        return answer;
    },

    /** As "Verify" in the settings: with the recovery key this person's identity signs this device. */
    async verify(request) {
        const answer = { recovery_key: null };
        await setUpIdentity(request, answer);
        return answer;
    },

    async join(request) {
        const joined = await client.joinRoom(request.room, {
            viaServers: request.via,
            acceptSharedHistory: request.acceptSharedHistory ?? true,
        });
        const inSync = () => client.getRoom(joined.roomId)?.getMyMembership() === "join";
        const encryptionKnown = () => {
            const room = client.getRoom(joined.roomId);
            return inSync() && room.currentState.getStateEvents("m.room.create", "") !== null;
        };
        await until(encryptionKnown, request.timeout ?? SYNC_LIMIT_MS, () => `the sync after joining ${request.room}`);
        return { room_id: joined.roomId };
    },

    async leave({ room }) {
        await client.leave(room);
        return {};
    },

    async createRoom({ options }) {
        const created = await client.createRoom(options);
        await until(
            () => client.getRoom(created.room_id)?.currentState.getStateEvents("m.room.create", ""),
            SYNC_LIMIT_MS,
            () => `the sync after making ${created.room_id}`,
        );
        return created;
    },

    async invite({ room, user }) {
        await client.invite(room, user);
        return {};
    },

    async invites({ timeout, room, inviter }) {
        const look = () => {
            const found = client
                .getRooms()
                .filter((r) => r.getMyMembership() === "invite")
                .map((r) => ({
                    room_id: r.roomId,
                    name: r.currentState.getStateEvents("m.room.name", "")?.getContent().name ?? null,
                    inviter: r.getMember(client.getUserId())?.events.member?.getSender() ?? null,
                    encrypted: Boolean(r.currentState.getStateEvents("m.room.encryption", "")),
                }))
                .filter((i) => (room === undefined || i.room_id === room) && (!inviter || i.inviter === inviter));
            return found.length || !timeout ? found : null;
        };
        return until(look, timeout || 1, () => "an invite");
    },

    async send(request) {
        return send(request.room, request.type ?? "m.room.message", messageContent(request));
    },

    async sendPlain(request) {
        const path = `/rooms/${encodeURIComponent(request.room)}/send/${request.type ?? "m.room.message"}/${randomUUID()}`;
        return client.http.authedRequest("PUT", path, undefined, messageContent(request));
    },

    async edit({ room, eventId, body, content }) {
        const next = content ?? { msgtype: "m.text", body };
        return send(room, "m.room.message", {
            ...next,
            body: `* ${next.body}`,
            "m.new_content": next,
            "m.relates_to": { rel_type: "m.replace", event_id: eventId },
        });
    },

    async react({ room, eventId, key }) {
        return send(room, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key } });
    },

    async redact({ room, eventId, reason }) {
        return { event_id: (await client.redactEvent(room, eventId, undefined, { reason })).event_id };
    },

    async typing({ room, isTyping }) {
        await client.sendTyping(room, isTyping, 30_000);
        return {};
    },

    /** A receipt of everything so far, or of one `thread` (its root, or `main`); `private`: told to nobody else. */
    async read({ room, eventId, thread, private: isPrivate }) {
        const event = client.getRoom(room)?.findEventById(eventId) ?? events.get(eventId)?.event;
        const body = thread === undefined ? {} : { thread_id: thread };
        await client.sendReceipt(event, isPrivate ? "m.read.private" : "m.read", body, true);
        return {};
    },

    async mark() {
        return { seq: arrivals };
    },

    /** Sends `text` `count` times, each after the answer of `sender` to the one before; milliseconds of each, measured here. */
    async roundTrips({ room, text, sender, count, timeout = 20_000 }) {
        const took = [];
        for (let turn = 0; turn < count; turn++) {
            const known = arrivals;
            const began = performance.now();
            await client.sendMessage(room, { msgtype: "m.text", body: text });
            await until(
                () => {
                    for (let at = order.length - 1; at >= 0 && order[at].seq > known; at--) {
                        const { event } = order[at];
                        if (event.getRoomId() === room && event.getSender() === sender
                            && event.getType() === "m.room.message" && !event.isDecryptionFailure()) return true;
                    }
                    return false;
                },
                timeout,
                () => `answer ${turn + 1} of ${sender} in ${room}`,
            );
            took.push(performance.now() - began);
        }
        return { took };
    },

    async waitFor(request) {
        const look = () => {
            for (const entry of events.values()) {
                const found = describe(entry);
                if (matches(found, request) && settled(found, request)) return found;
            }
            return null;
        };
        const what = () => {
            const last = [...events.values()].slice(-8).map((entry) => {
                const { type, sender, content, failure, pending } = describe(entry);
                const text = failure ? `[${failure.reason}]` : pending ? "[not decrypted yet]" : (content.body ?? "");
                return `${sender} ${type} ${String(text).slice(0, 80)}`;
            });
            const { id: _id, op: _op, timeout: _timeout, ...predicate } = request;
            return `an event like ${JSON.stringify(predicate)}; the last seen were: ${JSON.stringify(last)}`;
        };
        return until(look, request.timeout, what);
    },

    async encryptionInfo({ eventId }) {
        const { event } = eventOf(eventId);
        const crypto = client.getCrypto();
        const info = await crypto.getEncryptionInfoForEvent(event);
        const devices = (await crypto.getUserDeviceInfo([event.getSender()], true)).get(event.getSender());
        let deviceId = null;
        for (const device of devices?.values() ?? []) {
            if (device.getIdentityKey() === event.getSenderKey()) deviceId = device.deviceId;
        }
        return {
            encrypted: info !== null,
            colour: info === null ? null : api.EventShieldColour[info.shieldColour],
            reason: info === null || info.shieldReason === null ? null : api.EventShieldReason[info.shieldReason],
            device_id: deviceId,
        };
    },

    async timeline({ room, count }) {
        return [...events.values()]
            .map(describe)
            .filter((found) => found.room_id === room)
            .slice(-(count ?? 50));
    },

    async scrollback({ room, count }) {
        await client.scrollback(roomOf(room), count ?? 50);
        return {};
    },

    async members({ room }) {
        return roomOf(room)
            .getMembers()
            .map((m) => ({ user_id: m.userId, membership: m.membership, power: m.powerLevel }));
    },

    async devices({ user }) {
        const crypto = client.getCrypto();
        const hasIdentity = await crypto.userHasCrossSigningKeys(user, true);
        const devices = (await crypto.getUserDeviceInfo([user], true)).get(user);
        const answer = [];
        for (const device of devices?.values() ?? []) {
            const status = await crypto.getDeviceVerificationStatus(user, device.deviceId);
            answer.push({
                device_id: device.deviceId,
                display_name: device.displayName ?? null,
                signed_by_owner: status?.signedByOwner ?? false,
                identity_key: device.getIdentityKey(),
                fingerprint: device.getFingerprint(),
                dehydrated: device.dehydrated,
            });
        }
        const trust = await crypto.getUserVerificationStatus(user);
        return { cross_signing: hasIdentity, identity_changed: trust.needsUserApproval, devices: answer };
    },

    async roomState({ room, type, key }) {
        return client.getStateEvent(room, type, key ?? "");
    },

    async setExcludeInsecure({ on }) {
        const mode = on === false ? new api.AllDevicesIsolationMode(false) : new api.OnlySignedDevicesIsolationMode();
        client.getCrypto().setDeviceIsolationMode(mode);
        return {};
    },

    /** Keys for others' devices are kept back, as by a network that fails unseen, and sent when it ends. */
    async holdKeys({ on }) {
        if (on !== false) {
            held ??= [];
            return {};
        }
        const late = held ?? [];
        held = null;
        await Promise.all(late.map((send) => send()));
        return { sent: late.length };
    },

    async upload({ data, name, mime, encrypted }) {
        const bytes = Buffer.from(data, "base64");
        const type = encrypted === false ? mime : "application/octet-stream";
        if (encrypted === false) {
            return { url: (await client.uploadContent(bytes, { name, type })).content_uri, file: null };
        }
        const key = randomBytes(32);
        const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]); // client-server API, "Sending encrypted attachments"
        const cipher = createCipheriv("aes-256-ctr", key, iv);
        const sealed = Buffer.concat([cipher.update(bytes), cipher.final()]);
        const { content_uri: url } = await client.uploadContent(sealed, { includeFilename: false, type });
        const unpadded = (buffer) => buffer.toString("base64").replace(/=+$/, "");
        const file = {
            v: "v2",
            url,
            key: { kty: "oct", alg: "A256CTR", ext: true, key_ops: ["encrypt", "decrypt"], k: key.toString("base64url") },
            iv: unpadded(iv),
            hashes: { sha256: unpadded(createHash("sha256").update(sealed).digest()) },
        };
        return { url: null, file };
    },

    async download({ url, file }) {
        const address = client.mxcUrlToHttp(file?.url ?? url, undefined, undefined, undefined, true, true, true);
        const response = await fetch(address, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
        if (!response.ok) throw new Error(`download: HTTP ${response.status}`);
        let bytes = Buffer.from(await response.arrayBuffer());
        if (file) {
            const digest = createHash("sha256").update(bytes).digest("base64").replace(/=+$/, "");
            if (digest !== file.hashes.sha256) throw new Error("download: the hash does not fit");
            const key = Buffer.from(file.key.k, "base64url");
            const decipher = createDecipheriv("aes-256-ctr", key, Buffer.from(file.iv, "base64"));
            bytes = Buffer.concat([decipher.update(bytes), decipher.final()]);
        }
        return { data: bytes.toString("base64") };
    },

    async http({ method, path, query, body, prefix }) {
        return client.http.authedRequest(method, path, query, body, prefix ? { prefix } : undefined);
    },

    async stop() {
        client?.stopClient();
        setTimeout(() => process.exit(0), 0);
        return {};
    },
};

async function serve(line) {
    const request = JSON.parse(line);
    try {
        const operation = operations[request.op];
        if (!operation) throw new Error(`unknown op ${request.op}`);
        if (!client && !["login", "stop"].includes(request.op)) throw new Error("log in first");
        say({ id: request.id, ok: (await operation(request)) ?? {} });
    } catch (error) {
        say({ id: request.id, error: String(error?.message ?? error), errcode: error?.errcode ?? null });
    }
}

process.on("unhandledRejection", (error) => console.error("unhandled rejection", error));
createInterface({ input: process.stdin }).on("line", serve).on("close", () => process.exit(0));
say({ event: "ready" });
