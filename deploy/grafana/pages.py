"""Which dashboards there are, and the files that hold them."""

from deploy.grafana.embedder import EMBEDDER
from deploy.grafana.flow import FLOW
from deploy.grafana.panels import Dashboard
from deploy.grafana.search import SEARCH
from deploy.grafana.truth import TRUTH

DASHBOARDS: dict[str, Dashboard] = {
    "deploy/grafana/dashboards/flow.json": FLOW,
    "deploy/grafana/dashboards/embedder.json": EMBEDDER,
    "deploy/grafana/dashboards/search.json": SEARCH,
    "deploy/grafana/dashboards/truth.json": TRUTH,
}
"""By the path from the root of the repository."""
