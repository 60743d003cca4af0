// ioredis through the proxy: `ioredis.js HOST PORT TOPIC` runs the cases of a topic.
//
// Says `ok NAME` or `FAILED NAME` of each case, and ends with status 1 if one failed. ioredis speaks
// RESP2 only, so its client-side caching is that of RESP2: invalidations are redirected to another
// connection, named by its number.

"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");

const [host, port, topic] = process.argv.slice(2);

// However slow this machine is.
const PATIENCE = 30000;

const open = [];

function connect(settings) {
  const client = new Redis({
    host,
    port: Number(port),
    commandTimeout: PATIENCE,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    ...settings,
  });
  // Failures show in the commands.
  client.on("error", () => {});
  open.push(client);
  return client;
}

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function untilBlocked(client, count) {
  const wanted = `blocked_clients:${count}\r\n`;
  return until("blocked clients", async () => (await client.info("clients")).includes(wanted));
}

// Collects what a subscriber hears.
function heard(subscriber, event) {
  const list = [];
  subscriber.on(event, (...message) => list.push(message.map(String)));
  return list;
}

const strings = {
  async every_byte(client) {
    const bytes = Buffer.concat([Buffer.from([...Array(256).keys()]), Buffer.from("\r\n$-1\r\n")]);
    assert.equal(await client.set(bytes, bytes), "OK");
    assert.deepEqual(await client.getBuffer(bytes), bytes);
  },
  async all_sizes(client) {
    for (const size of [0, 1, 16384, 32767, 32768, 65537, 1 << 20, (8 << 20) + 1]) {
      const value = Buffer.alloc(size, size % 251);
      await client.set("size", value);
      assert.ok(value.equals(await client.getBuffer("size")), `${size} bytes are others`);
      assert.equal(await client.strlen("size"), size);
    }
  },
  async text_and_errors(client) {
    await client.set("word", "grüße");
    assert.deepEqual(await client.mget("word", "none"), ["grüße", null]);
    await assert.rejects(client.incr("word"), /not an integer/);
  },
};

const pipelines = {
  async a_long_pipeline(client) {
    const pipeline = client.pipeline();
    const wanted = [];
    for (let n = 0; n < 5000; n++) {
      pipeline.set(`p${n}`, n).get(`p${n}`);
      wanted.push([null, "OK"], [null, String(n)]);
    }
    assert.deepEqual(await pipeline.exec(), wanted);
  },
  async errors_in_their_place(client) {
    const replies = await client.pipeline().set("text", "x").incr("text").get("text").exec();
    assert.deepEqual([replies[0][1], replies[2][1]], ["OK", "x"]);
    assert.match(replies[1][0].message, /not an integer/);
  },
  async all_at_once(client) {
    const clients = Array.from({ length: 5 }, () => connect({ enableAutoPipelining: true }));
    const asked = [];
    for (let n = 0; n < 1000; n++) {
      const echo = String(n);
      asked.push(clients[n % 5].echo(echo).then((reply) => assert.equal(reply, echo)));
      asked.push(client.incr("n"));
    }
    await Promise.all(asked);
    assert.equal(await client.get("n"), "1000");
  },
};

const transactions = {
  async a_transaction(client) {
    const replies = await client.multi().set("t", 1).incr("t").get("t").exec();
    assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, "2"]]);
  },
  async a_conflict(client) {
    const other = connect();
    await client.watch("w");
    await other.set("w", 2);
    assert.equal(await client.multi().set("w", 3).exec(), null);
    assert.equal(await client.get("w"), "2");
  },
  async without_a_conflict(client) {
    await client.watch("w2");
    assert.deepEqual(await client.multi().set("w2", 3).exec(), [[null, "OK"]]);
    await client.watch("w2");
    await client.set("w2", 4);
    await client.unwatch();
    assert.deepEqual(await client.multi().get("w2").exec(), [[null, "4"]]);
  },
  async step_by_step(client) {
    await client.multi({ pipeline: false });
    assert.equal(await client.set("a", 1), "QUEUED");
    await assert.rejects(client.call("SET", "only-a-key"), /wrong number/);
    await assert.rejects(client.exec(), /EXECABORT/);
    assert.equal(await client.get("a"), null);
  },
};

const pubsub = {
  async channels_and_patterns(client) {
    const subscriber = connect();
    const [plain, pattern] = [heard(subscriber, "message"), heard(subscriber, "pmessage")];
    assert.equal(await subscriber.subscribe("news", "sport"), 2);
    assert.equal(await subscriber.psubscribe("n*"), 3);
    assert.equal(await client.publish("news", "hello"), 2);
    await until("messages", () => plain.length === 1 && pattern.length === 1);
    assert.deepEqual(plain, [["news", "hello"]]);
    assert.deepEqual(pattern, [["n*", "news", "hello"]]);
    assert.equal(await subscriber.unsubscribe("news"), 2);
    assert.equal(await client.publish("news", "again"), 1);
    await until("a message", () => pattern.length === 2);
    assert.equal(plain.length, 1);
  },
  async on_with_the_same_connection(client) {
    const subscriber = connect();
    const messages = heard(subscriber, "message");
    for (let round = 1; round <= 3; round++) {
      assert.equal(await subscriber.subscribe("c"), 1);
      await client.publish("c", round);
      await until("a message", () => messages.length === round);
      assert.equal(await subscriber.unsubscribe("c"), 0);
      assert.equal(await subscriber.incr("rounds"), round);
    }
  },
  async bytes(client) {
    const subscriber = connect();
    await subscriber.subscribe("c");
    const message = once(subscriber, "messageBuffer");
    await client.publish("c", Buffer.from([0, 255, 13, 10]));
    assert.deepEqual((await message)[1], Buffer.from([0, 255, 13, 10]));
  },
  async a_thousand_messages(client) {
    const subscriber = connect();
    const messages = heard(subscriber, "message");
    await subscriber.subscribe("many");
    await Promise.all(Array.from({ length: 1000 }, (_, n) => client.publish("many", n)));
    await until("all messages", () => messages.length === 1000);
    assert.deepEqual(messages.map(([, n]) => Number(n)), [...Array(1000).keys()]);
  },
};

const blocking = {
  async with_data(client) {
    await client.rpush("full", "a", "b");
    assert.deepEqual(await client.blpop("full", 10), ["full", "a"]);
    assert.deepEqual(await client.brpop("empty", "full", 10), ["full", "b"]);
  },
  async without_data(client) {
    assert.equal(await client.blpop("empty", 0.2), null);
    assert.equal(await client.xread("BLOCK", 200, "STREAMS", "stream", "$"), null);
    assert.equal(await client.ping(), "PONG");
  },
  async until_data_comes(client) {
    const pop = connect().blpop("q1", "q2", 0);
    const move = connect().blmove("from", "to", "LEFT", "RIGHT", 0);
    await untilBlocked(client, 2);
    await client.rpush("q2", "x");
    assert.deepEqual(await pop, ["q2", "x"]);
    await client.rpush("from", "y");
    assert.equal(await move, "y");
  },
  async a_stream(client) {
    const read = connect().xread("BLOCK", 0, "STREAMS", "s", "$");
    await untilBlocked(client, 1);
    const id = await client.xadd("s", "*", "f", "v");
    assert.deepEqual(await read, [["s", [[id, ["f", "v"]]]]]);
  },
};

const scripts = {
  async arguments_and_types(client) {
    const reply = await client.eval("return {KEYS[1], ARGV[1], 3, false}", 1, "k", "a");
    assert.deepEqual(reply, ["k", "a", 3, null]);
    await assert.rejects(client.eval("return redis.error_reply('no')", 0), /no/);
  },
  async loaded_when_missing(client) {
    client.defineCommand("add", {
      numberOfKeys: 1,
      lua: "return redis.call('incrby', KEYS[1], ARGV[1])",
    });
    assert.equal(await client.add("n", 5), 5);
    await client.script("FLUSH");
    await assert.rejects(client.evalsha("0".repeat(40), 0), /NOSCRIPT/);
    assert.equal(await client.add("n", 5), 10);
    assert.deepEqual(await client.pipeline().add("n", 1).add("n", 1).exec(), [[null, 11], [null, 12]]);
  },
};

const caching = {
  async invalidations_are_redirected(client) {
    const listener = connect();
    const id = await listener.client("ID");
    const invalid = heard(listener, "message");
    await listener.subscribe("__redis__:invalidate");
    const reader = connect();
    assert.equal(await reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", id), "OK");
    for (let n = 1; n <= 3; n++) {
      await reader.get("cached");
      await client.set("cached", n);
      await until("an invalidation", () => invalid.length === n);
    }
    assert.deepEqual(invalid[0], ["__redis__:invalidate", "cached"]);
  },
};

const client = {
  async name_and_number() {
    const [one, two] = [connect({ connectionName: "one" }), connect()];
    assert.equal(await two.client("SETNAME", "two"), "OK");
    const ids = [await one.client("ID"), await two.client("ID")];
    assert.notEqual(ids[0], ids[1]);
    for (let n = 0; n < 5; n++) {
      assert.equal(await one.client("GETNAME"), "one");
      assert.equal(await two.client("GETNAME"), "two");
      assert.deepEqual([await one.client("ID"), await two.client("ID")], ids);
    }
    const list = await one.client("LIST");
    assert.ok(list.includes(`id=${ids[1]} `) && list.includes("name=two "), list);
  },
  async databases() {
    const several = [0, 1, 2, 3].map((db) => connect({ db }));
    await Promise.all(several.map((one, db) => one.set("where", db)));
    for (const [db, one] of several.entries()) {
      assert.equal(await one.get("where"), String(db));
    }
    await several[0].select(3);
    assert.equal(await several[0].get("where"), "3");
  },
};

const auth = {
  async a_password() {
    const good = connect({ password: "secret" });
    assert.equal(await good.set("k", "v"), "OK");
    await assert.rejects(connect().get("k"), /NOAUTH/);
    await assert.rejects(good.auth("wrong"), /WRONGPASS/);
  },
  async a_user() {
    const alice = connect({ username: "alice", password: "wonderland" });
    assert.equal(await alice.acl("WHOAMI"), "alice");
    assert.equal(await alice.set("alice:k", 1), "OK");
    await assert.rejects(alice.set("other", 1), /NOPERM/);
    assert.equal(await alice.auth("secret"), "OK");
    assert.equal(await alice.acl("WHOAMI"), "default");
  },
};

async function run() {
  const topics = { strings, pipelines, transactions, pubsub, blocking, scripts, caching, client, auth };
  const main = connect(topic === "auth" ? { password: "secret" } : {});
  let failed = 0;
  for (const [name, test] of Object.entries(topics[topic])) {
    await main.flushall();
    try {
      await test(main);
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  open.forEach((one) => one.disconnect());
  return failed;
}

run().then(
  (failed) => process.exit(failed ? 1 : 0),
  (error) => {
    console.log(`FAILED ${topic}\n${error.stack}`);
    process.exit(1);
  },
);
