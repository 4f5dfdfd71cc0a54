"""The graph of a journey: where every step leads."""

from __future__ import annotations

from engine.language.content import load_journey_source
from engine.language.graph import Graph
from tests.language.support import HEAD, registry


def graph(steps: str) -> Graph:
    return Graph.of(load_journey_source(HEAD + "steps:\n" + steps, registry()))


def edges(graph: Graph) -> dict[str, object]:
    return {node.id: dict(node.arms) or node.next for node in graph.nodes.values()}


def test_steps_lead_to_the_next_and_the_last_to_the_end() -> None:
    made = graph("  - wait: 1d\n  - tag: keen\n    id: keen\n  - wait: 2d\n")
    assert made.first == "wait_1"
    assert edges(made) == {"wait_1": "keen", "keen": "wait_2", "wait_2": None}


def test_an_unnamed_step_is_numbered_among_all_of_its_type() -> None:
    assert list(graph("  - wait: 1d\n    id: first\n  - wait: 2d\n").nodes) == ["first", "wait_2"]


def test_arms_lead_into_their_blocks_and_these_to_what_follows() -> None:
    made = graph(
        "  - branch:\n"
        "      - if: customer.vip\n"
        "        then: [{tag: a}, {tag: b}]\n"
        "      - if: customer.tier is set\n"
        "        then: []\n"
        "  - tag: c\n"
    )
    assert edges(made) == {
        "branch_1": {"customer.vip": "tag_1", "customer.tier is set": "tag_3", "else": "tag_3"},
        "tag_1": "tag_2",
        "tag_2": "tag_3",
        "tag_3": None,
    }


def test_two_arms_of_the_same_share_are_two_arms() -> None:
    made = graph("  - split:\n      - 50%: [{tag: a}]\n      - 50%: [{tag: b}]\n")
    assert dict(made.nodes["split_1"].arms) == {"50%": "tag_1", "50% (2)": "tag_2"}


def test_a_goto_is_an_edge_wherever_it_stands() -> None:
    made = graph(
        "  - goto: middle\n"
        "  - tag: a\n"
        "    id: early\n"
        "  - tag: b\n"
        "    id: middle\n"
        "  - wait_for: {event: purchase, within: 1d}\n"
        "    then: [{goto: early}]\n"
    )
    assert made.first == "middle"
    assert edges(made) == {"early": "middle", "middle": "wait_for_1", "wait_for_1": {"then": "early", "else": None}}


def test_an_exit_is_a_node_that_leads_nowhere() -> None:
    made = graph("  - exit: done\n  - tag: a\n")
    assert made.nodes["exit_1"].leads_to == (None,)
    assert made.reachable() == {"exit_1"}


def test_what_comes_after_a_step_includes_it_only_in_a_loop() -> None:
    made = graph("  - wait: 1d\n    id: first\n  - wait: 1d\n    id: second\n  - goto: second\n")
    assert made.after("first") == {"second"}
    assert made.after("second") == {"second"}


def test_a_step_knows_its_place_in_the_file() -> None:
    made = graph("  - split:\n      - 100%:\n          - branch: [{if: customer.vip, then: [{tag: a}]}]\n")
    assert made.nodes["tag_1"].path == ("steps", 0, "split", 0, "100%", 0, "branch", 0, "then", 0)


def test_a_graph_is_drawn_with_its_arms_and_jumps() -> None:
    made = graph(
        "  - send: email/hello\n    id: hello\n    on_not_sent: goto last\n"
        "  - branch: [{if: 'customer.tier == \"gold\"', then: [{exit: gold}]}]\n"
        "  - wait: 1d\n    id: last\n"
    )
    assert made.to_mermaid() == (
        "flowchart TD\n"
        "  enter([enter])\n"
        "  enter --> step_hello\n"
        '  step_hello["hello<br/>send: email/hello"]\n'
        "  step_hello --> step_branch_1\n"
        "  step_hello -.-> step_last\n"
        '  step_branch_1{"branch_1<br/>branch"}\n'
        '  step_branch_1 -->|"customer.tier == &quot;gold&quot;"| step_exit_1\n'
        '  step_branch_1 -->|"else"| step_last\n'
        '  step_exit_1["exit_1<br/>exit: gold"]\n'
        "  step_exit_1 --> done\n"
        '  step_last["last<br/>wait: 1d"]\n'
        "  step_last --> done\n"
        "  done([end])\n"
    )
