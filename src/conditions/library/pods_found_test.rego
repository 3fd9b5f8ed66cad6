package conditions.pods_found_test

import data.conditions.pods_found

test_holds if pods_found.allow with input as {"related": {"pods": [{}]}}

test_none if not pods_found.allow with input as {"related": {"pods": []}}
