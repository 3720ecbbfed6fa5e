r"""An inverse problem of plasma tomography: three fields on a mesh, seen by four cameras.

At each vertex of a triangular mesh of a disc there are the logarithms of a temperature T, of an
electron density n and of an impurity density m, relative to one. Camera c sees photons of the
energy :math:`E_c`, whose rate is not linear in the fields:

.. math:: \epsilon_c = n m \, e^{-E_c / T} + \tfrac{3}{10} n^2 e^{-E_c / 3T}

and measures integrals of the rate along lines of sight, with Gaussian noise. The prior is a
Gaussian random field with the sparse precision :math:`K M^{-1} K / s^2`,
:math:`K = M + \ell^2 S`, of the mass matrix M and the stiffness matrix S of linear finite elements
(Lindgren, Rue & Lindström, J. R. Stat. Soc. B 73, 2011).
"""

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay

ENERGIES = (0.5, 1.0, 1.5, 2.5)
N_CHORDS = 60  # lines of sight of a camera
LENGTH, DEVIATION = 0.3, 0.25  # of the prior: correlation length / √8, and about the deviation


class Tomography:
    """The inverse problem, with fields drawn from the prior and their measurements.

    Parameters
    ----------
    n_vertices : int
        Vertices of the mesh; there are three parameters for each.
    seed : int
        Seed of the fields and of the noise.
    noise : float
        The deviation of the noise, in units of the mean measurement.

    Attributes
    ----------
    vertices : ndarray of shape (n_vertices, 2)
        In the unit disc.
    triangles : ndarray of int, shape (n_triangles, 3)
        The mesh.
    truth : ndarray of shape (3 n_vertices,)
        The fields ln T, ln n, ln m that the measurements were made from.
    prior_precision : sparse matrix of shape (3 n_vertices, 3 n_vertices)
        P.
    """

    def __init__(self, n_vertices=650, seed=0, noise=0.02):
        rng = np.random.RandomState(seed)
        # A sunflower's seeds: they fill the disc evenly.
        place = np.arange(n_vertices)
        angle = place * np.pi * (3.0 - np.sqrt(5.0))
        radius = np.sqrt((place + 0.5) / n_vertices)
        self.vertices = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
        mesh = Delaunay(self.vertices)
        self.triangles = mesh.simplices
        self.n_vertices = n_vertices
        field = _field_precision(self.vertices, self.triangles)
        self.prior_precision = sparse.block_diag([field] * 3, format="csc")
        self._views = [_line_integrals(mesh, camera) for camera in range(len(ENERGIES))]
        self._back = [view.T.tocsr() for view in self._views]
        dense = np.linalg.cholesky(field.toarray())
        self.truth = np.linalg.solve(dense.T, rng.normal(size=(n_vertices, 3))).T.ravel()
        exact = [
            view @ rate for view, rate in zip(self._views, self._rates(self.truth), strict=True)
        ]
        self._deviation = noise * np.mean(exact)
        self._data = [y + self._deviation * rng.normal(size=len(y)) for y in exact]

    def _terms(self, theta, energy):
        """Return the two terms of a camera's rate, (n_vertices,), and E / T."""
        log_t, log_n, log_m = theta.reshape(3, -1)
        cold = energy * np.exp(-log_t)
        return np.exp(log_n + log_m - cold), 0.3 * np.exp(2.0 * log_n - cold / 3.0), cold

    def _rates(self, theta):
        return [sum(self._terms(theta, energy)[:2]) for energy in ENERGIES]

    def __call__(self, theta):
        """Return the log density of theta in nats, up to a constant, and its gradient."""
        smooth = self.prior_precision @ theta
        value, gradient = -0.5 * float(theta @ smooth), -smooth
        by_field = gradient.reshape(3, -1)
        for view, back, data, energy in zip(
            self._views, self._back, self._data, ENERGIES, strict=True
        ):
            line, continuum, cold = self._terms(theta, energy)
            residual = (data - view @ (line + continuum)) / self._deviation
            value -= 0.5 * float(residual @ residual)
            weight = back @ residual / self._deviation
            by_field[0] += weight * cold * (line + continuum / 3.0)
            by_field[1] += weight * (line + 2.0 * continuum)
            by_field[2] += weight * line
        return value, gradient

    def hessian(self, theta):
        """Return the Hessian of the log density by formula, (3 n_vertices, 3 n_vertices)."""
        n = self.n_vertices
        hessian = -self.prior_precision.toarray()
        blocks = hessian.reshape(3, n, 3, n)
        every = np.arange(n)
        for view, data, energy in zip(self._views, self._data, ENERGIES, strict=True):
            line, continuum, cold = self._terms(theta, energy)
            first = np.array([cold * (line + continuum / 3), line + 2 * continuum, line])
            jacobian = sparse.hstack([view @ sparse.diags(row) for row in first]).toarray()
            hessian -= jacobian.T @ jacobian / self._deviation**2
            residual = (data - view @ (line + continuum)) / self._deviation**2
            weight = view.T @ residual
            second = {
                (0, 0): line * (cold**2 - cold) + continuum * (cold**2 / 9 - cold / 3),
                (0, 1): cold * (line + 2 * continuum / 3),
                (0, 2): cold * line,
                (1, 1): line + 4 * continuum,
                (1, 2): line,
                (2, 2): line,
            }
            for (i, j), values in second.items():
                blocks[i, every, j, every] += weight * values
                if i != j:
                    blocks[j, every, i, every] += weight * values
        return hessian


def _field_precision(vertices, triangles):
    """Return the sparse precision of one field, (n_vertices, n_vertices)."""
    n = len(vertices)
    corners = vertices[triangles]
    edges = corners[:, [2, 0, 1]] - corners[:, [1, 2, 0]]  # opposite to each corner
    area = 0.5 * np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
    local = np.einsum("tid,tjd->tij", edges, edges) / (4.0 * area)[:, None, None]
    rows = np.repeat(triangles, 3, axis=1).ravel()
    columns = np.tile(triangles, (1, 3)).ravel()
    stiffness = sparse.csc_matrix((local.ravel(), (rows, columns)), shape=(n, n))
    mass = np.bincount(triangles.ravel(), np.repeat(area / 3.0, 3), minlength=n)
    operator = sparse.diags(mass) + LENGTH**2 * stiffness
    precision = operator @ sparse.diags(1.0 / mass) @ operator
    # A field on the plane with this operator has the variance 1 / (4 π ℓ²).
    return sparse.csc_matrix(precision / (4.0 * np.pi * LENGTH**2 * DEVIATION**2))


def _line_integrals(mesh, camera, n_points=200):
    """Return the sparse matrix of integrals along a camera's lines, (N_CHORDS, n_vertices)."""
    angle = 0.3 + camera * np.pi / len(ENERGIES) * 1.1
    eye = 1.5 * np.array([np.cos(angle), np.sin(angle)])
    widest = np.arcsin(1.0 / 1.5) * 0.95
    directions = angle + np.pi + np.linspace(-widest, widest, N_CHORDS)
    along = (np.arange(n_points) + 0.5) / n_points * 2.6
    rays = np.column_stack([np.cos(directions), np.sin(directions)])
    points = eye + along[None, :, None] * rays[:, None]
    triangle = mesh.find_simplex(points)
    chord, place = np.nonzero(triangle >= 0)
    triangle = triangle[chord, place]
    inverse = mesh.transform[triangle]
    shares = np.einsum("pij,pj->pi", inverse[:, :2], points[chord, place] - inverse[:, 2])
    shares = np.column_stack([shares, 1.0 - shares.sum(axis=1)])
    rows = np.repeat(chord, 3)
    columns = mesh.simplices[triangle].ravel()
    shape = N_CHORDS, mesh.npoints
    lengths = shares.ravel() * (along[1] - along[0])
    return sparse.csr_matrix((lengths, (rows, columns)), shape=shape)
