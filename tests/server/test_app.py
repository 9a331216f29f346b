"""The routes, over a socket: what they say is what the library says, and what is wrong is refused in a sentence."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from micrographia.evidence.files import load_evidence
from micrographia.graph.exchange import graph_json
from micrographia.graph.files import load_graph
from micrographia.report.wire.documents import packed
from micrographia.report.wire.records import wire_json
from micrographia.server.app import application
from micrographia.server.desk import Desk
from micrographia.server.guard import Door
from micrographia.server.serve import Listener, listen
from micrographia.server.shelf import Shelf
from micrographia.server.works import MODES
from tests.graph.graphs import small_graph
from tests.server.shelves import PROMPT, SECOND
from tests.server.speaking import Speaker, running

REPOSITORY = Path(__file__).parents[2]
TRAVERSALS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%252f..%252fetc%252fpasswd",
    "..\\..\\etc\\passwd",
    "%5c..%5cfirst",
    "first",
    "%00",
    "first%00.json",
    "/etc/passwd",
    "//etc/passwd",
    "file:%2f%2f%2fetc%2fpasswd",
    "＂",
    "%ff%fe",
]


# ---------------------------------------------------------------- graphs


def test_a_graph_and_its_columns_are_those_of_the_file(speaker: Speaker, shelf_folder: Path) -> None:
    name = speaker.graph(PROMPT)
    mine = packed(load_graph(shelf_folder / "first"))
    assert speaker.get(f"/api/graphs/{name}") == json.loads(wire_json(mine.document))
    assert speaker.client.get(f"/api/graphs/{name}/columns").content == mine.columns


def test_the_page_says_who_answers(speaker: Speaker, desk: Desk) -> None:
    assert desk._opening is not None
    desk._opening.result(60)
    about = speaker.get("/api/about")
    assert about["state"] == "ready"
    assert (about["model"], about["basis"], about["has_atlas"]) == (desk.instruments.ready.model.name, "neurons", False)
    assert about["can"] == ["trace", "what-if", "test", "group", "attention"]


def test_a_graph_is_given_as_one_file(speaker: Speaker) -> None:
    answer = speaker.client.get(f"/api/graphs/{speaker.graph(PROMPT)}/html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "graph-columns" in answer.text


def test_another_tools_graph_can_be_sent(speaker: Speaker) -> None:
    content = graph_json(small_graph(5))
    answer = speaker.client.post("/api/graphs", content=json.dumps(content))
    assert answer.status_code == 201
    found = speaker.get(f"/api/graphs/{answer.json()['id']}")
    assert found["prompt"]["text"] == small_graph(5).prompt.text
    for wrong in (b"", b"{", b"[" * 100_000, b'{"metadata": 1}', b"\xff\xfe", b"1" * 5000):
        speaker.refusal("POST", "/api/graphs", 400, content=wrong)


def test_groups_are_kept(speaker: Speaker, shelf_folder: Path) -> None:
    name = speaker.graph(PROMPT)
    members = [str(load_graph(shelf_folder / "first").nodes.id(i)) for i in (0, 1)]
    hostile = "<img src=x onerror=alert(1)>"
    wanted = {"groups": [{"name": hostile, "members": members, "reason": ""}]}
    answer = speaker.client.put(f"/api/graphs/{name}/groups", json=wanted)
    assert answer.json() == {"groups": 1, "forgotten": []}
    assert speaker.get(f"/api/graphs/{name}")["supernodes"][0]["name"] == hostile
    twice = {"groups": [{"name": "a", "members": members}, {"name": "b", "members": members}]}
    assert "two groups" in speaker.refusal("PUT", f"/api/graphs/{name}/groups", 400, json=twice)


# ---------------------------------------------------------------- the model at work


def test_a_trace_from_the_page_is_the_trace_of_the_library(speaker: Speaker, shelf_folder: Path, looking) -> None:
    wanted = {"prompt": "t2 t4 t8", "target": "t16", "nodes": 30, "share": 0.6}
    *told, last = speaker.events(speaker.begin("/api/traces", wanted))
    assert {event["kind"] for event in told} <= {"progress"}
    assert last["kind"] == "done"
    name = speaker.graph("t2 t4 t8")
    assert last["result"] == {"kind": "traced", "id": name}
    assert (shelf_folder / "t2-t4-t8" / "manifest.json").is_file()
    mine = looking.trace("t2 t4 t8", target="t16", max_nodes=30, share=0.6)
    found = load_graph(shelf_folder / "t2-t4-t8")
    assert np.array_equal(found.edges.weight, mine.edges.weight)


def test_what_cannot_be_traced_is_refused_by_the_job(speaker: Speaker) -> None:
    for wanted in ({"prompt": "t2", "target": "nonsense word"}, {"prompt": "t2", "position": 9}):
        *_, last = speaker.events(speaker.begin("/api/traces", wanted))
        assert last["kind"] == "failed"
        assert last["error"].endswith(".")


def test_a_what_if_is_that_of_the_library(speaker: Speaker, shelf_folder: Path, looking) -> None:
    graph = load_graph(shelf_folder / "first")
    feature = str(graph.nodes.id(int(np.argmax(np.abs(graph.nodes.influence[graph.nodes.spans["feature"]])))))
    for mode in ("free", "constrained", "iterative"):
        path = f"/api/graphs/{speaker.graph(PROMPT)}/what-if"
        found = speaker.done(path, {"changes": [f"{feature}=x0"], "mode": mode, "tokens": ["t13"]})
        mine = looking.what_if(PROMPT, f"{feature}=x0", mode=MODES[mode], tokens=["t13"])
        word = next(word for word in mine.words if word.piece == "t13")
        said = next(each for each in found["words"] if each["piece"] == "t13")
        assert said["after"] == pytest.approx(word.after, rel=1e-9)
        assert [shift["part"] for shift in found["shifts"]] == [feature]
        assert found["targets"][0]["change"] == pytest.approx(word.logit, rel=1e-9)
        target = float(graph.nodes.activation[graph.nodes.find("target.0")])
        assert found["targets"][0]["before"] == pytest.approx(target, rel=1e-9)


def test_changes_that_say_nothing_are_refused(speaker: Speaker) -> None:
    path = f"/api/graphs/{speaker.graph(PROMPT)}/what-if"
    for changes in (["nonsense"], ["99.1@0=0"], ["0.1@99=0"]):
        *_, last = speaker.events(speaker.begin(path, {"changes": changes}))
        assert last["kind"] == "failed"
    speaker.refusal("POST", path, 422, json={"changes": []})
    speaker.refusal("POST", path, 422, json={"changes": ["0.1@0=0"], "mode": "other"})


def test_evidence_runs_live_and_is_kept_and_goes_on(speaker: Speaker, shelf_folder: Path) -> None:
    name = speaker.graph(PROMPT)
    path = f"/api/graphs/{name}/tests"
    told = list(speaker.events(speaker.begin(path, {"seconds": 12})))
    assert told[-1]["kind"] == "done", told[-1]
    partial = [event["result"] for event in told if event["kind"] == "partial"]
    assert partial, "verdicts come before the end"
    result = told[-1]["result"]
    measured = [claim for claim in result["claims"] if claim["effect"] is not None]
    assert measured
    assert all(claim["n_controls"] >= 1 for claim in measured)
    known = load_evidence(load_graph(shelf_folder / "first"), shelf_folder / "first")
    assert known is not None
    assert speaker.get(f"/api/graphs/{name}")["evidence"] == result
    row = next(row for row in speaker.get("/api/graphs")["graphs"] if row["id"] == name)
    assert row["evidence"] == dict(known.counts)
    again = speaker.done(path, {"seconds": 12})
    assert sum(c["n_controls"] for c in again["claims"]) >= sum(c["n_controls"] for c in result["claims"])


def test_a_test_can_be_stopped_and_answers_what_ifs_meanwhile(speaker: Speaker, shelf_folder: Path) -> None:
    name = speaker.graph(PROMPT)
    job = speaker.begin(f"/api/graphs/{name}/tests", {"seconds": 600})
    events = speaker.events(job)
    assert next(events)["kind"] in ("progress", "partial")
    feature = str(load_graph(shelf_folder / "first").nodes.id(0))
    speaker.done(f"/api/graphs/{name}/what-if", {"changes": [f"{feature}=x2"]})
    assert "being tested" in speaker.refusal("POST", f"/api/graphs/{name}/tests", 400, json={"seconds": 1})
    assert "being tested" in speaker.refusal("PUT", f"/api/graphs/{name}/groups", 400, json={"groups": []})
    assert speaker.client.delete(f"/api/jobs/{job}").status_code == 204
    assert [*events][-1]["kind"] == "cancelled"
    kept = load_evidence(load_graph(shelf_folder / "first"), shelf_folder / "first")
    assert kept is not None
    assert kept.measured, "what was measured stays"


def test_a_graph_without_an_origin_is_not_tested(speaker: Speaker) -> None:
    name = speaker.graph("foreign")
    *_, last = speaker.events(speaker.begin(f"/api/graphs/{name}/tests", {"seconds": 1}))
    assert last["kind"] == "failed"
    assert "model" in last["error"]


def test_two_listeners_hear_the_same_and_one_who_comes_late_hears_the_end(speaker: Speaker) -> None:
    job = speaker.begin("/api/traces", {"prompt": "t2 t3", "target": "t4", "nodes": 5})
    first = [*speaker.events(job)]
    assert [*speaker.events(job)][-1] == first[-1]
    with speaker.client.stream("GET", f"/api/jobs/{job}/events", headers={"last-event-id": "100000"}) as stream:
        assert [*stream.iter_lines()] == []
    speaker.refusal("GET", "/api/jobs/unknown/events", 404)
    speaker.refusal("DELETE", "/api/jobs/unknown", 404)


# ---------------------------------------------------------------- attention


def test_the_heads_of_a_prompt_are_those_of_the_library(speaker: Speaker, looking) -> None:
    name = speaker.graph(PROMPT)
    found = speaker.get(f"/api/graphs/{name}/attention")
    scores = looking.heads(PROMPT)
    assert len(found["heads"]) == scores.entropy.numel()
    for row in found["heads"]:
        for score in ("entropy", "previous", "first", "induction"):
            assert row[score] == pytest.approx(float(scores.table(score)[row["layer"], row["head"]]))
    shades = np.frombuffer(speaker.client.get(f"/api/graphs/{name}/attention/columns").content, np.uint8)
    shades = shades.reshape(found["columns"][0]["shape"])
    pattern = looking.model.run(PROMPT, read="pattern").stack("pattern")[:, 0].numpy()
    assert np.abs(shades / 255 - np.sqrt(pattern)).max() <= 0.5 / 255 + 1e-6


def test_one_head_says_where_it_looks_what_it_brings_and_what_it_promotes(speaker: Speaker, looking) -> None:
    found = speaker.get(f"/api/graphs/{speaker.graph(PROMPT)}/attention/1/2")
    run = looking.model.run(PROMPT, read=["pattern", "z"])
    pattern = run["pattern.1"][0, 2]
    n = len(pattern)
    assert [len(row) for row in found["pattern"]] == list(range(1, n + 1))
    for q in range(n):
        assert found["pattern"][q] == pytest.approx(pattern[q, : q + 1].tolist(), rel=1e-4, abs=1e-9)
    tops = looking.head_tops(PROMPT, position=-1, top=5)
    assert [said["token"] for said in found["written"][-1]["promoted"]] == [
        looking.model.tokenizer.piece(int(token)) for token in tops.tokens[1, 2]
    ]
    frozen = looking.freeze(PROMPT)
    # Alone at its key, what a head brings is what it writes there.
    assert found["moved"][0][0] == pytest.approx(float(frozen.heads(1)[2, 0].norm()), rel=1e-4)
    speaker.refusal("GET", f"/api/graphs/{speaker.graph(PROMPT)}/attention/1/99", 400)


def test_an_edge_is_split_over_heads_and_adds_up(speaker: Speaker, shelf_folder: Path) -> None:
    graph = load_graph(shelf_folder / "first")
    names, e = list(map(str, graph.nodes)), graph.edges
    tried = 0
    for i in np.argsort(-np.abs(e.weight)):
        source, target = names[e.source[i]], names[e.target[i]]
        if source == "bias" or tried == 8:
            continue
        tried += 1
        found = speaker.get(f"/api/graphs/{speaker.graph(PROMPT)}/carriers", source=source, target=target)
        for part in ("last", "first"):
            whole = found["direct"] + sum(head[part] for head in found["heads"])
            assert whole == pytest.approx(float(e.weight[i]), rel=1e-9)
    assert tried == 8
    path = f"/api/graphs/{speaker.graph(PROMPT)}/carriers"
    speaker.refusal("GET", path, 400, params={"source": "target.0", "target": names[0]})
    speaker.refusal("GET", path, 422, params={"source": "target.0"})


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_shelf(speaker: Speaker, served: Listener, path: str) -> None:
    """Sent as it stands: a client would tidy it up before."""
    for before in ("/api/graphs/", "/static/", "/api/jobs/", "/graph/"):
        head = (
            f"GET {before}{path} HTTP/1.1\r\nHost: 127.0.0.1:{served.door.port}\r\n"
            f"Authorization: Bearer {served.door.token}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", served.door.port), timeout=30) as line:
            line.sendall(head.encode("utf-8"))
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        status, body = int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]
        assert b"root:" not in answer
        assert status in (400, 404, 405, 422) or (before == "/graph/" and status == 200 and b'id="app"' in body)


def test_only_the_page_and_its_two_files_are_given_out(speaker: Speaker) -> None:
    for view in ("/", "/features", "/feature/1/2", "/graph/abc", "/attention/abc", "/compare/a/b"):
        answer = speaker.client.get(view)
        assert answer.status_code == 200
        assert '<div id="app">' in answer.text
        assert "abc" not in answer.text
    assert speaker.client.get("/static/app.js").headers["content-type"].startswith("text/javascript")
    assert speaker.client.get("/static/app.css").headers["content-type"].startswith("text/css")
    for name in ("app.js.map", "__init__.py", "page.py", "APP.JS"):
        assert speaker.client.get(f"/static/{name}").status_code == 404
    assert speaker.client.get("/docs").status_code == 404


def test_every_answer_carries_the_rules_for_the_browser(speaker: Speaker) -> None:
    for path in ("/", "/static/app.js", "/api/about", "/api/graphs/none", "/nowhere"):
        headers = speaker.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_without_an_atlas_features_are_not_there(speaker: Speaker, desk: Desk) -> None:
    desk._opening.result(60)
    for path in ("/api/features", "/api/features/0/1", "/api/labels/0/1"):
        assert "atlas" in speaker.refusal("GET", path, 404)


def test_the_description_in_the_docs_is_that_of_the_routes(desk: Desk) -> None:
    kept = json.loads((REPOSITORY / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert kept == application(desk, Door(1665, "")).openapi(), "scripts/openapi writes it anew"


def test_a_server_that_was_started_anew_knows_the_same_graphs_and_another_token(
    speaker: Speaker, served: Listener, shelf_folder: Path, looking
) -> None:
    name = speaker.graph(SECOND)
    other = Desk(Shelf(shelf_folder), lambda basis, _: looking)
    again = listen(0)
    with running(other, again):
        url = again.door.origins[0]
        old = speaker.client.get(f"{url}/api/graphs/{name}", headers={"origin": url, "host": again.door.hosts[0]})
        assert old.status_code == 401
        headers = {"authorization": f"Bearer {again.door.token}"}
        assert speaker.client.get(f"{url}/api/graphs/{name}", headers=headers | {"origin": url}).status_code == 200
