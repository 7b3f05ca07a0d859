"""Sums of non-negative leaves, for drawing in proportion to them (arXiv:1511.05952, appendix B.2.1)."""

from __future__ import annotations

import numpy as np


class SumTree:
    """A binary tree in float64 below a row of roots, padded to a power of two.

    The root row is searched by its running sum, so only the lower half of the tree is walked. Sums are brought up to
    date when they are next needed: writing costs nothing but the leaf, and the tree is a pure function of its leaves.
    """

    def __init__(self, size: int):
        depth = max(1, (size - 1).bit_length())
        self.size = size
        self._first = 1 << depth  # node number of leaf 0; node i has the children 2i and 2i + 1
        self._roots = 1 << min(depth, (depth + 3) // 2)  # the row of roots begins here and is as wide
        self._levels = self._first.bit_length() - self._roots.bit_length()
        self._tree = np.zeros(2 * self._first)
        self._stale: list[np.ndarray] = []
        self._stale_count = 0
        self.leaves = self._tree[self._first : self._first + size]  # read only for others

    @staticmethod
    def bytes(size: int) -> int:
        """Memory of a tree before it is made."""
        return 16 << max(1, (size - 1).bit_length())

    def set(self, index: np.ndarray, value: np.ndarray | float) -> None:
        """Writes leaves [n]; of several writes to one leaf the last counts."""
        self.leaves[index] = value
        self._stale.append(index)
        self._stale_count += len(index)
        if len(self._stale) > 4096:
            self._refresh()

    @property
    def total(self) -> float:
        self._refresh()
        return float(np.cumsum(self._tree[self._roots : 2 * self._roots])[-1])

    def sample(self, fractions: np.ndarray) -> np.ndarray:
        """Leaves [n] on which `fractions` [n] of the total, each in [0, 1), fall; never one that is zero."""
        self._refresh()
        tree = self._tree
        sums = np.cumsum(tree[self._roots : 2 * self._roots])
        if not sums[-1] > 0:
            raise ValueError("a tree of zeros has nothing to draw")
        rest = fractions * sums[-1]
        # a product may round up to the total: the first root that reaches it is the last one that is not zero
        root = np.minimum(sums.searchsorted(rest, side="right"), sums.searchsorted(sums[-1]))
        rest -= np.where(root > 0, sums[root - 1], 0.0)
        node = root + self._roots
        for _ in range(self._levels):
            node <<= 1
            left = tree.take(node)
            right = (rest >= left) & (tree.take(node + 1) > 0)  # rounding must not lead below a zero
            rest -= left * right
            node += right
        return node - self._first

    def _refresh(self) -> None:
        """Sums anew what lies above written leaves, or everything when that is less work."""
        if not self._stale:
            return
        tree = self._tree
        if self._stale_count > self._first // 16:
            low = self._first
            while low > self._roots:
                low >>= 1
                np.add(tree[2 * low : 4 * low : 2], tree[2 * low + 1 : 4 * low : 2], out=tree[low : 2 * low])
        else:
            node = np.concatenate(self._stale) + self._first
            for _ in range(self._levels):
                node >>= 1
                child = node << 1
                tree[node] = tree.take(child) + tree.take(child + 1)
        self._stale, self._stale_count = [], 0
