"""redis-py through the proxy: `redis_py.py HOST PORT TOPIC` runs the cases of a topic.

Each case runs in RESP2 and in RESP3. Says `ok NAME` or `FAILED NAME` of each, and ends with status
1 if one failed.
"""

import sys
import threading
import time
import traceback

import redis
from redis.backoff import NoBackoff
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    NoPermissionError,
    ResponseError,
    WatchError,
)
from redis.retry import Retry

HOST, PORT, TOPIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]

# However slow this machine is.
PATIENCE = 30

# What the cases speak now.
protocol = 2

# The library's cache asks for 7.4, but needs nothing that Redis 6 does not have.
CacheProxyConnection.MIN_ALLOWED_VERSION = "6.2.0"

CASES = {}


def case(topic):
    def add(function):
        CASES.setdefault(topic, []).append(function)
        return function

    return add


def connect(**settings):
    settings.setdefault("protocol", protocol)
    # A failure must not be hidden by a second try.
    once = Retry(NoBackoff(), 0)
    return redis.Redis(
        host=HOST, port=PORT, socket_timeout=PATIENCE, retry=once, **settings
    )


def plain(value):
    """Without what differs between the library's versions and protocols."""
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return value


def text(value):
    """Some versions answer with text, others with bytes."""
    return value.decode() if isinstance(value, bytes) else value


def equal(found, wanted):
    assert plain(found) == plain(wanted), f"{found!r}, not {wanted!r}"


def refuses(error, call):
    try:
        found = call()
    except error:
        return
    raise AssertionError(f"{found!r}, not {error.__name__}")


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def until_blocked(client, count):
    until("blocked clients", lambda: client.info("clients")["blocked_clients"] == count)


# Strings


@case("strings")
def every_byte(client):
    value = bytes(range(256)) * 10 + b"\r\n$-1\r\n*2\r\n"
    equal(client.set(value, value), True)
    equal(client.get(value), value)
    equal(client.getrange(value, 10, 12), b"\x0a\x0b\x0c")


@case("strings")
def all_sizes(client):
    for size in [0, 1, 1023, 16384, 32767, 32768, 65537, 1 << 20, (8 << 20) + 1]:
        value = bytes([size % 251]) * size
        client.set("size", value)
        assert client.get("size") == value, f"{size} bytes are others"
        equal(client.strlen("size"), size)


@case("strings")
def text_and_options(client):
    words = connect(decode_responses=True)
    equal(words.set("word", "grüße", ex=1000, nx=True), True)
    equal(words.set("word", "no", nx=True), None)
    equal(words.get("word"), "grüße")
    assert 0 < words.ttl("word") <= 1000
    equal(words.incrbyfloat("float", 1.5), 1.5)
    equal(words.mget("word", "none", "float"), ["grüße", None, "1.5"])
    refuses(ResponseError, lambda: words.incr("word"))


# Pipelines


@case("pipelines")
def a_long_pipeline(client):
    pipeline = client.pipeline(transaction=False)
    for n in range(5000):
        pipeline.set(f"p{n}", n).get(f"p{n}")
    equal(pipeline.execute(), [x for n in range(5000) for x in (True, b"%d" % n)])


@case("pipelines")
def errors_in_their_place(client):
    pipeline = client.pipeline(transaction=False)
    pipeline.set("text", "x").incr("text").get("text")
    ok, error, value = pipeline.execute(raise_on_error=False)
    equal((ok, value), (True, b"x"))
    assert isinstance(error, ResponseError), error


@case("pipelines")
def large_values_in_a_pipeline(client):
    pipeline = client.pipeline(transaction=False)
    values = [bytes([n]) * (n * 20000) for n in range(40)]
    for value in values:
        pipeline.set("large", value).get("large")
    equal(pipeline.execute()[1::2], values)


@case("pipelines")
def many_threads(client):
    def count():
        for _ in range(50):
            pipeline = client.pipeline(transaction=False)
            for _ in range(20):
                pipeline.incr("threads")
            found = pipeline.execute()
            equal(found, sorted(found))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(client.get("threads"), b"8000")


# Transactions


@case("transactions")
def a_transaction(client):
    pipeline = client.pipeline()
    equal(pipeline.set("t", 1).incr("t").get("t").execute(), [True, 2, b"2"])


@case("transactions")
def a_conflict(client):
    client.set("w", 1)
    with client.pipeline() as pipeline:
        pipeline.watch("w")
        equal(pipeline.get("w"), b"1")
        client.set("w", 2)
        pipeline.multi()
        pipeline.set("w", 3)
        refuses(WatchError, pipeline.execute)
    equal(client.get("w"), b"2")


@case("transactions")
def tried_until_it_succeeds(client):
    client.set("sum", 0)

    def add(pipeline):
        before = int(pipeline.get("sum"))
        pipeline.multi()
        pipeline.set("sum", before + 1)

    def work():
        for _ in range(25):
            client.transaction(add, "sum")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(client.get("sum"), b"100")


@case("transactions")
def given_up(client):
    with client.pipeline() as pipeline:
        pipeline.watch("w2")
        pipeline.unwatch()
        client.set("w2", 1)
        pipeline.multi()
        equal(pipeline.get("w2").execute(), [b"1"])
    pipeline = client.pipeline()
    pipeline.set("a", 1).execute_command("SET", "only-a-key")
    refuses(ResponseError, pipeline.execute)
    equal(client.get("a"), None)


# Publish and subscribe


def messages(pubsub, count):
    found = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found}"
        message = pubsub.get_message(timeout=1)
        if message is not None:
            found.append((message["type"], message["channel"], message["data"]))
    return found


@case("pubsub")
def channels_and_patterns(client):
    pubsub = client.pubsub()
    pubsub.subscribe("news", "sport")
    pubsub.psubscribe("n*")
    confirmed = messages(pubsub, 3)
    equal([data for _, _, data in confirmed], [1, 2, 3])
    equal(client.publish("news", "hello"), 2)
    wanted = [("message", b"news", b"hello"), ("pmessage", b"news", b"hello")]
    equal(messages(pubsub, 2), wanted)
    pubsub.unsubscribe("news")
    equal(messages(pubsub, 1), [("unsubscribe", b"news", 2)])
    equal(client.publish("news", "again"), 1)
    equal(messages(pubsub, 1), [("pmessage", b"news", b"again")])
    pubsub.close()


@case("pubsub")
def on_with_the_same_connection(client):
    # One connection: it must serve ordinary commands again.
    connection = client.connection_pool.get_connection()

    def heard():
        return connection.read_response(push_request=protocol == 3)

    for round in range(3):
        connection.send_command("SUBSCRIBE", "c")
        equal(heard(), [b"subscribe", b"c", 1])
        client.publish("c", b"\x00\xff")
        equal(heard(), [b"message", b"c", b"\x00\xff"])
        connection.send_command("UNSUBSCRIBE", "c")
        equal(heard(), [b"unsubscribe", b"c", 0])
        connection.send_command("INCR", "rounds")
        equal(connection.read_response(), round + 1)
    client.connection_pool.release(connection)


@case("pubsub")
def shards(client):
    pubsub = client.pubsub()
    pubsub.ssubscribe("shard")
    equal(messages(pubsub, 1), [("ssubscribe", b"shard", 1)])
    client.execute_command("SPUBLISH", "shard", "x")
    equal(messages(pubsub, 1), [("smessage", b"shard", b"x")])
    pubsub.close()


@case("pubsub")
def a_thousand_messages(client):
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("many")
    until("the subscription", lambda: client.pubsub_numsub("many") == [(b"many", 1)])
    pipeline = client.pipeline(transaction=False)
    for n in range(1000):
        pipeline.publish("many", n)
    pipeline.execute()
    found = [data for _, _, data in messages(pubsub, 1000)]
    equal(found, [b"%d" % n for n in range(1000)])
    pubsub.close()


# Commands that block


def in_background(call):
    box = []
    thread = threading.Thread(target=lambda: box.append(call()))
    thread.start()

    def result():
        thread.join(PATIENCE)
        assert box, "it does not end"
        return box[0]

    return result


@case("blocking")
def with_data(client):
    client.rpush("full", "a", "b")
    equal(client.blpop("full", 10), (b"full", b"a"))
    equal(client.brpop(["empty", "full"], 10), (b"full", b"b"))
    equal(client.zadd("z", {"m": 1}), 1)
    equal(client.bzpopmin("z", 10), (b"z", b"m", 1.0))


@case("blocking")
def without_data(client):
    equal(client.blpop("empty", 0.2), None)
    assert not client.xread({"stream": "$"}, block=200)
    equal(client.ping(), True)


@case("blocking")
def until_data_comes(client):
    pop = in_background(lambda: connect().blpop(["q1", "q2"], 0))
    move = in_background(lambda: connect().blmove("from", "to", 0))
    until_blocked(client, 2)
    client.rpush("q2", "x")
    equal(pop(), (b"q2", b"x"))
    client.rpush("from", "y")
    equal(move(), b"y")


@case("blocking")
def a_stream(client):
    read = in_background(lambda: connect().xread({"s": "$"}, block=0))
    until_blocked(client, 1)
    added = client.xadd("s", {"f": "v"})
    found = read()
    assert added in str(found).encode() and b"s" in str(found).encode(), found
    client.xgroup_create("s", "g", "0")
    first = client.xreadgroup("g", "me", {"s": ">"}, block=PATIENCE * 1000)
    assert added in str(first).encode(), first


# Scripts


@case("scripts")
def arguments_and_types(client):
    equal(client.eval("return {KEYS[1], ARGV[1], 3, false}", 1, "k", b"\xff"), [b"k", b"\xff", 3, None])
    refuses(ResponseError, lambda: client.eval("return redis.error_reply('no')", 0))


@case("scripts")
def loaded_when_missing(client):
    script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    equal(script(keys=["n"], args=[5]), 5)
    client.script_flush()
    refuses(NoScriptError, lambda: client.evalsha(script.sha, 1, "n", 1))
    equal(script(keys=["n"], args=[5]), 10)
    equal(client.evalsha(script.sha, 1, "n", 1), 11)
    equal(client.script_exists(script.sha), [True])


@case("scripts")
def in_a_pipeline(client):
    script = client.register_script("return ARGV[1]")
    pipeline = client.pipeline()
    script(args=["a"], client=pipeline)
    pipeline.ping()
    equal(pipeline.execute(), [b"a", True])


@case("scripts")
def functions(client):
    code = "#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)"
    equal(client.function_load(code, replace=True), b"lib")
    equal(client.fcall("f", 0, "x"), b"x")


# RESP3 and client-side caching


@case("resp3")
def its_types(client):
    two, three = connect(protocol=2), connect(protocol=3)
    three.hset("h", mapping={"a": 1, "b": 2})
    equal(three.hgetall("h"), {b"a": b"1", b"b": b"2"})
    equal(two.hgetall("h"), {b"a": b"1", b"b": b"2"})
    three.sadd("set", "m")
    equal(set(three.smembers("set")), {b"m"})
    three.zadd("z", {"m": 1.5})
    equal(three.zscore("z", "m"), 1.5)
    equal(three.get("none"), None)
    three.set_response_callback("HELLO", lambda reply, **_: reply)
    equal(three.execute_command("HELLO")[b"proto"], 3)


def calls(client, name):
    return client.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]


@case("resp3")
def a_cache_is_used_and_invalidated(client):
    cached = connect(protocol=3, cache_config=CacheConfig())
    client.set("cached", 1)
    equal(cached.get("cached"), b"1")
    before = calls(client, "get")
    for _ in range(10):
        equal(cached.get("cached"), b"1")
    equal(calls(client, "get"), before)
    client.set("cached", 2)
    until("an invalidation", lambda: cached.get("cached") == b"2")
    client.mset({"cached": 3, "other": 1})
    until("a second one", lambda: cached.get("cached") == b"3")
    client.flushall()
    until("the end of all keys", lambda: cached.get("cached") is None)


@case("resp3")
def caches_of_several_clients(client):
    caches = [connect(protocol=3, cache_config=CacheConfig()) for _ in range(5)]
    for n in range(5):
        client.set("common", n)
        for cached in caches:
            until("the value", lambda: cached.get("common") == b"%d" % n)


# What a client is


@case("client")
def name_and_number(client):
    one = connect(single_connection_client=True, client_name="one")
    two = connect(single_connection_client=True)
    equal((text(one.client_getname()), two.client_getname()), ("one", None))
    equal(two.client_setname("two"), True)
    ids = one.client_id(), two.client_id()
    assert ids[0] != ids[1], ids
    for _ in range(5):
        equal([text(one.client_getname()), text(two.client_getname())], ["one", "two"])
        equal((one.client_id(), two.client_id()), ids)
        equal(text(one.client_info()["name"]), "one")
    listed = {entry["name"]: int(entry["id"]) for entry in client.client_list()}
    equal((listed["one"], listed["two"]), ids)


@case("client")
def databases(client):
    several = [connect(db=db, single_connection_client=True) for db in range(5)]
    for db, one in enumerate(several):
        one.set("where", db)
    for _ in range(3):
        for db, one in enumerate(several):
            equal(one.get("where"), b"%d" % db)
    several[0].select(4)
    equal(several[0].get("where"), b"4")
    refuses(ResponseError, lambda: several[0].select(99))


# Who a client is


@case("auth")
def a_password(_):
    good = connect(password="secret")
    equal(good.set("k", "v"), True)
    equal(good.get("k"), b"v")
    refuses(AuthenticationError, lambda: connect(password="wrong").get("k"))
    refuses(AuthenticationError, lambda: connect().get("k"))


@case("auth")
def a_user(_):
    alice = connect(username="alice", password="wonderland")
    equal(text(alice.acl_whoami()), "alice")
    equal(alice.set("alice:k", 1), True)
    refuses(NoPermissionError, lambda: alice.set("other", 1))
    refuses(AuthenticationError, connect(username="alice", password="secret").ping)


@case("auth")
def a_change_of_user(_):
    client = connect(password="secret", single_connection_client=True)
    equal(text(client.acl_whoami()), "default")
    client.execute_command("AUTH", "alice", "wonderland")
    equal(text(client.acl_whoami()), "alice")
    refuses(NoPermissionError, lambda: client.get("other"))
    client.execute_command("AUTH", "secret")
    equal(client.get("other"), None)


def run(function):
    """Whether the case holds."""
    name = f"{function.__name__} in RESP{protocol}"
    client = connect(password="secret" if TOPIC == "auth" else None)
    client.flushall()
    try:
        function(client)
        print(f"ok {name}", flush=True)
        return True
    except Exception:
        print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        return False


results = []
for protocol in [2, 3]:
    results += [run(function) for function in CASES[TOPIC]]
sys.exit(0 if all(results) else 1)
