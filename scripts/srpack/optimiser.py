# SPDX-License-Identifier: BSD-2-Clause
"""SOAP (Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", 2024), for
convolutions.

A weight [out][in][kh][kw] is seen as the matrix [out][in*kh*kw]. Running averages of G G' and G'
G give an eigenbasis for each side; Adam runs in that basis. The bases are refreshed every few
steps by one step of power iteration and a QR. Sides above `largest` keep the identity.
"""

import torch


def _basis(matrix):
    """Eigenvectors of a symmetric matrix, the largest first. A flat picture's gradients may be so
    small that LAPACK gives up, or answers NaN: then the identity, which the refreshes turn into a
    basis."""
    try:
        basis = torch.linalg.eigh(matrix)[1].flip(1)
    except torch.linalg.LinAlgError:
        basis = torch.full_like(matrix, torch.nan)
    return basis if basis.isfinite().all() else torch.eye(len(matrix)).to(matrix)


class Soap(torch.optim.Optimizer):
    """Parameters below two dimensions are left to plain Adam."""

    def __init__(
        self, parameters, lr, betas=(0.9, 0.95), memory=0.95, every=10, largest=640, eps=1e-8
    ):
        super().__init__(
            parameters,
            {
                "lr": lr,
                "betas": betas,
                "memory": memory,
                "every": every,
                "largest": largest,
                "eps": eps,
            },
        )

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter], group)

    def _update(self, parameter, state, group):
        g = parameter.grad.reshape(parameter.shape[0], -1)
        b1, b2 = group["betas"]
        if not state:
            state["step"] = 0
            state["m"], state["v"] = torch.zeros_like(g), torch.zeros_like(g)
            if parameter.dim() > 1:
                for side, size in (("l", g.shape[0]), ("r", g.shape[1])):
                    if 1 < size <= group["largest"]:
                        state[side] = torch.zeros(size, size).to(g)
        first = state["step"] == 0
        state["step"] += 1
        for side, product in (("l", lambda: g @ g.T), ("r", lambda: g.T @ g)):
            if side in state:
                state[side].lerp_(product(), 1 - group["memory"])
        if first:
            for side in ("l", "r"):
                if side in state:
                    state["q" + side] = _basis(state[side])
            if "ql" in state or "qr" in state:
                return  # the first gradient only sets the bases
        t = state["step"]
        rotated = self._rotate(g, state)
        state["m"].lerp_(g, 1 - b1)
        state["v"].mul_(b2).addcmul_(rotated, rotated, value=1 - b2)
        m = self._rotate(state["m"], state) / (1 - b1**t)
        update = m / ((state["v"] / (1 - b2**t)).sqrt() + group["eps"])
        update = self._back(update, state)
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])
        if t % group["every"] == 0:
            self._refresh(state)

    @staticmethod
    def _rotate(g, state):
        g = state["ql"].T @ g if "ql" in state else g
        return g @ state["qr"] if "qr" in state else g

    @staticmethod
    def _back(g, state):
        g = state["ql"] @ g if "ql" in state else g
        return g @ state["qr"].T if "qr" in state else g

    @staticmethod
    def _refresh(state):
        for side in ("l", "r"):
            if side not in state:
                continue
            q, matrix = state["q" + side], state[side]
            order = torch.argsort((q * (matrix @ q)).sum(0), descending=True)
            q = q[:, order]
            dim = 0 if side == "l" else 1
            state["v"] = state["v"].index_select(dim, order)
            state["q" + side] = torch.linalg.qr(matrix @ q)[0]
