"""A tree of sums for drawing in proportion to non-negative numbers (arXiv:1511.05952, appendix B.2.1)."""

from __future__ import annotations

import numpy as np

MAX_STALE_WRITES = 4096  # calls of `set` after which the sums are updated at the latest
WHOLE_TREE_SHARE = 16  # where more than 1 / 16 of the leaves were written, all sums are computed again


class SumTree:
    """The lower half of a binary tree in float64, padded to a power of two; each node is the sum of its children.

    The topmost row that is kept, the roots, is searched by its cumulative sum. Writing a leaf changes no other node:
    sums are updated when they are next needed, and depend on the leaves only.
    """

    def __init__(self, size: int):
        depth = max(1, (size - 1).bit_length())
        self.size = size
        self._first = 1 << depth  # node number of leaf 0; node i has the children 2i and 2i + 1
        self._roots = 1 << min(depth, (depth + 3) // 2)  # node number of the first root, and the number of roots
        self._levels = self._first.bit_length() - self._roots.bit_length()
        self._tree = np.zeros(2 * self._first)
        self._stale: list[np.ndarray] = []  # leaves written since the sums were updated
        self._stale_count = 0
        self.leaves = self._tree[self._first : self._first + size]  # other classes must not write it

    @staticmethod
    def bytes(size: int) -> int:
        """Memory in bytes of a tree of `size` leaves."""
        return 16 << max(1, (size - 1).bit_length())

    def set(self, index: np.ndarray, value: np.ndarray | float) -> None:
        """Writes the leaves `index` [n]; of several writes to one leaf the last counts."""
        self.leaves[index] = value
        self._stale.append(index)
        self._stale_count += len(index)
        if len(self._stale) > MAX_STALE_WRITES:
            self._refresh()

    @property
    def total(self) -> float:
        """The sum of all leaves."""
        self._refresh()
        return float(np.cumsum(self._tree[self._roots : 2 * self._roots])[-1])

    def sample(self, fractions: np.ndarray) -> np.ndarray:
        """The leaves [n] on which `fractions` [n] of the total fall, each in [0, 1); never a leaf that is zero.

        Raises ValueError when all leaves are zero.
        """
        self._refresh()
        tree = self._tree
        sums = np.cumsum(tree[self._roots : 2 * self._roots])
        if not sums[-1] > 0:
            raise ValueError("a tree of zeros has nothing to draw")
        rest = fractions * sums[-1]
        # where a product is rounded up to the total, the last root that is not zero is taken
        root = np.minimum(sums.searchsorted(rest, side="right"), sums.searchsorted(sums[-1]))
        rest -= np.where(root > 0, sums[root - 1], 0.0)
        node = root + self._roots
        for _ in range(self._levels):
            node <<= 1
            left = tree.take(node)
            right = (rest >= left) & (tree.take(node + 1) > 0)  # rounding must not lead to a zero
            rest -= left * right
            node += right
        return node - self._first

    def _refresh(self) -> None:
        """Updates the sums above the written leaves, or all sums where that is less work."""
        if not self._stale:
            return
        tree = self._tree
        if self._stale_count > self._first // WHOLE_TREE_SHARE:
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
