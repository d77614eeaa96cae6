"""Rows of the paper (arXiv 2502.06782, tables 2 and 3), for comparison with ours."""

TABLE_2 = {
    "1x2": {"time": 1.00, "quality": 83.92, "semantic": 79.27, "total": 82.99},
    "2x2": {"time": 0.36, "quality": 83.50, "semantic": 78.33, "total": 82.47},
    "2x4": {"time": 0.07, "quality": 82.47, "semantic": 77.77, "total": 81.53},
    "combined": {"time": 0.34, "quality": 84.08, "semantic": 78.39, "total": 82.94},
}

# `then` replaces the negative score from flow time SCHEDULED_FROM on.
TABLE_3 = {
    "4 / 4": {"positive": 4, "negative": 4, "dynamic": 45.37, "quality": 86.11, "semantic": 79.28},
    "8 / 8": {"positive": 8, "negative": 8, "dynamic": 53.70, "quality": 86.18, "semantic": 78.88},
    "4 / 2": {"positive": 4, "negative": 2, "dynamic": 72.78, "quality": 84.11, "semantic": 79.10},
    "8 / 2": {"positive": 8, "negative": 2, "dynamic": 85.89, "quality": 83.51, "semantic": 78.36},
    "4 / 2-[0.05-4]": {"positive": 4, "negative": 2, "then": 4, "dynamic": 67.13, "quality": 85.31, "semantic": 79.27},
    "8 / 2-[0.05-8]": {"positive": 8, "negative": 2, "then": 8, "dynamic": 83.33, "quality": 84.58, "semantic": 78.55},
}
SCHEDULED_FROM = 0.05
