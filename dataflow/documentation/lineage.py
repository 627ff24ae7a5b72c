"""Where data comes from and goes to: stages, tables, models, dashboards, and how they are drawn.

The drawing is a layered graph, by the steps that are known to do well: each node in the layer
after its last source, edges over several layers led through points between, the order within a
layer by the mean place of its neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

from dataflow.base.sql import TableName
from dataflow.base.words import shortened
from dataflow.documentation.model import Documentation, PageDoc, StageDoc, TableDoc, WorkflowDoc

WIDTH, HEIGHT = 190, 44  # of a node
GAP_X, GAP_Y = 16, 36
POINT = 12  # the width that an edge takes in a layer between
MARGIN = 8
LETTERS = 25  # that fit into a node
SWEEPS = 12


@dataclass(frozen=True)
class Node:
    """Something that data goes through.

    Args:
        key: tells it apart.
        kind: stage, op, table, model, seed, snapshot, dashboard or workflow.
        label: its name.
        workflow_id: whose it is; empty for none's.
        anchor: its place on the workflow's page.
    """

    key: str
    kind: str
    label: str
    workflow_id: str
    anchor: str


@dataclass(frozen=True)
class Lineage:
    """A graph: nodes by key, and edges from one to another, in the data's direction."""

    nodes: dict[str, Node]
    edges: tuple[tuple[str, str], ...]

    def around(self, workflow_id: str) -> Lineage:
        """The part with a workflow's nodes, and those of others that are next to them."""
        own = {key for key, node in self.nodes.items() if node.workflow_id == workflow_id}
        edges = tuple(edge for edge in self.edges if own.intersection(edge))
        keys = own.union(*edges) if edges else own
        return Lineage({key: node for key, node in self.nodes.items() if key in keys}, edges)

    def of_workflows(self, documentation: Documentation) -> Lineage:
        """The workflows, each before those that read its tables."""
        nodes = {
            id_: Node(id_, "workflow", workflow.name, id_, "")
            for id_, workflow in documentation.workflows.items()
        }
        owner = {key: node.workflow_id for key, node in self.nodes.items()}
        edges = dict.fromkeys(
            (owner[start], owner[end])
            for start, end in self.edges
            if owner[start] != owner[end] and owner[start] in nodes and owner[end] in nodes
        )
        return Lineage(nodes, tuple(edges))


def lineage_of(documentation: Documentation) -> Lineage:
    """How the project's stages, tables, models and dashboards follow from each other."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for owner, table in documentation.all_tables():
        node = _table_node(owner, table)
        nodes[node.key] = node
    for _, table in documentation.all_tables():
        _connect(edges, nodes, ((_key(read), _key(table.name)) for read in table.reads))
    for workflow in documentation.workflows.values():
        _add_stages(workflow, nodes, edges)
        for page in workflow.pages:
            _add_page(workflow.id, page, nodes, edges)
    for page in documentation.pages:
        _add_page("", page, nodes, edges)
    return Lineage(nodes, tuple(edges))


def _key(table: TableName) -> str:
    return f"table {str(table).lower()}"


def _table_node(owner: str, table: TableDoc) -> Node:
    name = table.name
    label = name.name if name.schema in (owner, f"{owner}_raw", f"{owner}_staging") else str(name)
    return Node(_key(name), table.kind, label, owner, table.anchor)


def _add_stages(
    workflow: WorkflowDoc, nodes: dict[str, Node], edges: dict[tuple[str, str], None]
) -> None:
    def key(stage: str) -> str:
        return f"stage {workflow.id} {stage}"

    by_name: dict[str, StageDoc] = {stage.name: stage for stage in workflow.stages}
    for stage in workflow.stages:
        nodes[key(stage.name)] = Node(
            key(stage.name), stage.kind, stage.name, workflow.id, stage.anchor
        )
    for stage in workflow.stages:
        _connect(edges, nodes, ((_key(read), key(stage.name)) for read in stage.reads))
        _connect(edges, nodes, ((key(stage.name), _key(made)) for made in stage.writes))
        # A stage that waits for another without reading what it writes follows it all the same.
        for before in stage.after:
            if before in by_name and not {*by_name[before].writes} & {*stage.reads}:
                _connect(edges, nodes, [(key(before), key(stage.name))])
    for table in workflow.tables:
        if table.made_by in by_name:
            _connect(edges, nodes, [(key(table.made_by), _key(table.name))])


def _add_page(
    owner: str, page: PageDoc, nodes: dict[str, Node], edges: dict[tuple[str, str], None]
) -> None:
    key = f"page {page.path}"
    nodes[key] = Node(key, "dashboard", page.title, owner, page.anchor)
    _connect(edges, nodes, ((_key(read), key) for read in page.reads))


def _connect(
    edges: dict[tuple[str, str], None], nodes: dict[str, Node], wanted: Iterable[tuple[str, str]]
) -> None:
    for start, end in wanted:
        if start in nodes and end in nodes and start != end:
            edges[start, end] = None


def draw(lineage: Lineage, address: Callable[[Node], str], title: str) -> Markup:
    """A graph as SVG; empty where there is nothing to follow.

    Its colours are those of the page: classes `node`, `edge`, `kind`, and the node's kind.

    Args:
        lineage: the graph.
        address: where a node leads to.
        title: what the picture shows, for those who do not see it.
    """
    if not lineage.edges:
        return Markup("")
    places: dict[str, tuple[float, float]] = {}
    edges: list[tuple[str, str]] = []
    width = height = float(MARGIN)
    for part in _connected(lineage):
        layers, pieces = _layers(part)
        _order(layers, pieces)
        placed = _places(part, layers, pieces)
        places |= {key: (x + width, y) for key, (x, y) in placed.items()}
        edges += pieces
        width += max(x for x, _ in placed.values()) + WIDTH / 2 + GAP_X
        height = max(height, len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 2.0 * MARGIN)
    width += MARGIN - GAP_X
    parts = [
        Markup(
            '<svg class="lineage" xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" '
            'height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}" role="group" aria-label="{title}">'
        ).format(w=width, h=height, title=title)
    ]
    for start, end in edges:
        (x0, y0), (x1, y1) = places[start], places[end]
        y0 += HEIGHT  # also of a point between, which an edge crosses straight
        if start not in lineage.nodes:
            parts.append(
                Markup('<path class="edge" d="M{0:.0f} {1:.0f}V{2:.0f}"/>').format(
                    x0, y0 - HEIGHT, y0
                )
            )
        middle = (y0 + y1) / 2
        parts.append(
            Markup('<path class="edge" d="M{0:.0f} {1:.0f}C{0:.0f} {2:.0f} {3:.0f} {2:.0f} {3:.0f} {4:.0f}"/>').format(
                x0, y0, middle, x1, y1
            )
        )  # fmt: skip
    for key, (x, y) in places.items():
        if node := lineage.nodes.get(key):
            parts.append(_box(node, x - WIDTH / 2, y, address(node)))
    return Markup("").join([*parts, Markup("</svg>")])


def _box(node: Node, x: float, y: float, address: str) -> Markup:
    short = shortened(node.label, LETTERS)
    owner = f" of {node.workflow_id}" if node.workflow_id and node.kind != "workflow" else ""
    return Markup(
        '<a href="{href}" class="node {kind}"><title>{kind} {label}{owner}</title>'
        '<rect x="{x:.0f}" y="{y:.0f}" width="{w}" height="{h}" rx="6"/>'
        '<text class="kind" x="{tx:.0f}" y="{ky:.0f}">{kind}</text>'
        '<text x="{tx:.0f}" y="{ty:.0f}">{short}</text></a>'
    ).format(
        href=address, kind=node.kind, label=node.label, owner=owner, x=x, y=y, w=WIDTH, h=HEIGHT,
        tx=x + 10, ky=y + 17, ty=y + 34, short=short,
    )  # fmt: skip


def _connected(lineage: Lineage) -> list[Lineage]:
    """The parts of a graph that no edge connects, without nodes that have none."""
    near: dict[str, list[str]] = defaultdict(list)
    for start, end in lineage.edges:
        near[start].append(end)
        near[end].append(start)
    found: list[dict[str, None]] = []
    seen: set[str] = set()
    for first in near:
        if first in seen:
            continue
        part, waiting = {first: None}, [first]
        while waiting:
            new = [key for key in near[waiting.pop()] if key not in part]
            part |= dict.fromkeys(new)
            waiting += new
        seen |= part.keys()
        found.append(part)
    return [
        Lineage(
            {key: lineage.nodes[key] for key in lineage.nodes if key in part},
            tuple(edge for edge in lineage.edges if edge[0] in part),
        )
        for part in found
    ]


def _layers(lineage: Lineage) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """The nodes by layer, with a point in each layer that an edge crosses; and the edges' pieces."""
    level = _levels(lineage)
    layers: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for key in lineage.nodes:
        if key in level:
            layers[level[key]].append(key)
    edges = []
    for start, end in lineage.edges:
        if level[start] >= level[end]:  # part of a circle
            continue
        before = start
        for number in range(level[start] + 1, level[end]):
            point = f"\0{start}\0{end}\0{number}"
            layers[number].append(point)
            edges.append((before, point))
            before = point
        edges.append((before, end))
    return layers, edges


def _levels(lineage: Lineage) -> dict[str, int]:
    """Of each node that has an edge, how many others are before it at most; circles are cut."""
    into: dict[str, list[str]] = defaultdict(list)
    linked = dict.fromkeys(key for edge in lineage.edges for key in edge)
    for start, end in lineage.edges:
        into[end].append(start)
    level: dict[str, int] = {}
    for first in linked:
        path: dict[str, None] = {}
        stack = [first]
        while stack:
            key = stack[-1]
            if key in level:
                stack.pop()
                path.pop(key, None)
                continue
            path[key] = None
            waiting = [one for one in into[key] if one not in level and one not in path]
            if waiting:
                stack.extend(waiting[:1])
                continue
            level[key] = max((level[one] + 1 for one in into[key] if one in level), default=0)
    return level


def _order(layers: list[list[str]], edges: list[tuple[str, str]]) -> None:
    """Order each layer by the mean place of its neighbours, forwards and backwards in turn."""
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    for sweep in range(SWEEPS):
        forwards = sweep % 2 == 0
        neighbours = before if forwards else after
        numbers = range(1, len(layers)) if forwards else range(len(layers) - 2, -1, -1)
        for number in numbers:
            other = layers[number - 1 if forwards else number + 1]
            place = {key: at for at, key in enumerate(other)}
            own = {key: at for at, key in enumerate(layers[number])}

            def mean(key: str, place: dict[str, int] = place, own: dict[str, int] = own) -> float:
                near = [place[one] for one in neighbours[key] if one in place]  # noqa: B023
                return sum(near) / len(near) if near else own[key]

            layers[number].sort(key=mean)


def _places(
    lineage: Lineage, layers: list[list[str]], edges: list[tuple[str, str]]
) -> dict[str, tuple[float, float]]:
    """The upper middle of each node: as nearly below its neighbours as there is room."""
    near: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        near[end].append(start)
        near[start].append(end)

    def apart(one: str, other: str) -> float:
        return GAP_X + sum(WIDTH if key in lineage.nodes else POINT for key in (one, other)) / 2

    x: dict[str, float] = {}
    for layer in layers:
        for before, key in zip(["", *layer], layer, strict=False):
            x[key] = x[before] + apart(before, key) if before else 0.0
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            wanted = [
                sum(x[one] for one in near[key]) / len(near[key]) if near[key] else x[key]
                for key in layer
            ]
            # From both ends, and the mean of the two: neither pulls all to one side.
            left, right = list(wanted), list(wanted)
            for at in range(1, len(layer)):
                left[at] = max(left[at], left[at - 1] + apart(layer[at - 1], layer[at]))
            for at in range(len(layer) - 2, -1, -1):
                right[at] = min(right[at], right[at + 1] - apart(layer[at], layer[at + 1]))
            for key, one, other in zip(layer, left, right, strict=True):
                x[key] = (one + other) / 2
    first = min(x.values()) - WIDTH / 2
    return {
        key: (x[key] - first, float(MARGIN + number * (HEIGHT + GAP_Y)))
        for number, layer in enumerate(layers)
        for key in layer
    }
