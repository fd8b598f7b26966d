"""Making of late-interaction rankers: their recipes, and the fit of their projections."""
