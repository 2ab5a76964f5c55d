"""The network, described once: a table of sites in the order of their computation.

The table says what every site is computed from and how, and what becomes of it (:mod:`.sites`);
everything that computes, stores, schedules or checks a network walks it. Each family of models has
its table in a module of its own (:mod:`.microgpt`, :mod:`.llama`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from gptloom.model import llama, microgpt
from gptloom.model.family import Family
from gptloom.model.formats import STANDARD, Precision
from gptloom.model.sites import Key, Kind, Path, Site, Weights

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig


@dataclass(frozen=True)
class Network:
    """The table of sites, and facts about it as a whole.

    Attributes
    ----------
    tokens, positions
        Embeddings; None for positions that are not learned.
    sites
        Sites in the order of computation.
    """

    tokens: Weights
    positions: Weights | None
    sites: tuple[Site, ...]

    def __getitem__(self, key: Key) -> Site:
        """Return a site by layer and name."""
        return self._by_key[key]

    @cached_property
    def _by_key(self) -> dict[Key, Site]:
        return {site.key: site for site in self.sites}

    @property
    def embeddings(self) -> tuple[Weights, ...]:
        """Tensors whose rows are added to make the embedding."""
        return tuple(weights for weights in (self.tokens, self.positions) if weights)

    @property
    def weights(self) -> tuple[Weights, ...]:
        """All tensors, each once, in order of use; a tied matrix is the embedding."""
        used = (tensor for site in self.sites for tensor in (site.gain, site.matrix) if tensor)
        return tuple(dict.fromkeys((*self.embeddings, *used)))

    @property
    def computed(self) -> tuple[Site, ...]:
        """Sites that hardware computes, without those whose values it reads from a table."""
        return tuple(site for site in self.sites if not site.tabled)

    @property
    def embedding(self) -> Site:
        """The site of the embedding, the first one."""
        return self.sites[0]

    @property
    def head(self) -> Site:
        """The site of the logits, the last one."""
        return self.sites[-1]

    def layer_weights(self, layer: int) -> tuple[Weights, ...]:
        """Return the matrices of a layer, in order of use."""
        return tuple(site.matrix for site in self.sites if site.layer == layer and site.matrix)

    def of_kind(self, kind: Kind, layer: int | None = None) -> Site:
        """Return the only site of a kind in a layer, or outside them."""
        (found,) = (site for site in self.sites if (site.kind, site.layer) == (kind, layer))
        return found

    @cached_property
    def paths(self) -> dict[tuple[int, Path], Sequence[Site]]:
        """Sites of every layer's paths, in order of computation."""
        members = sorted(
            (site for site in self.sites if site.path),
            key=lambda site: (site.layer, site.path.value),
        )
        return {
            key: tuple(sites)
            for key, sites in groupby(members, key=lambda site: (site.layer, site.path))
        }


_TABLES = {Family.MICROGPT: microgpt.table, Family.LLAMA: llama.table}


@cache
def network(config: "ModelConfig", precision: Precision = STANDARD) -> Network:
    """Return the table of a model's sites.

    Parameters
    ----------
    config
        The shape.
    precision
        Bits of weights and cached rows.
    """
    return Network(*_TABLES[config.family](config, precision))
