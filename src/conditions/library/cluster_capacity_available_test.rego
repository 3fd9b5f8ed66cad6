package conditions.cluster_capacity_available_test

import data.conditions.cluster_capacity_available

import data.conditions.fixtures

test_holds if cluster_capacity_available.allow with input as fixtures.scale(1, 3, [fixtures.node("a", 2, 0.5), fixtures.node("b", 2, 0.5)])

test_a_full_node if {
	full := fixtures.scale(1, 3, [fixtures.node("a", 2, 0.5), fixtures.node("b", 2, 1.5)])
	not cluster_capacity_available.allow with input as full
	"2 more pods are asked for, and 1 of 2 nodes that they may go to have room for 1" in cluster_capacity_available.reasons with input as full
}

test_a_cordoned_node_does_not_count if not cluster_capacity_available.allow with input as fixtures.scale(1, 2, [object.union(fixtures.node("a", 9, 0), {"unschedulable": true})])

test_tenths_of_a_core if {
	tenths := object.union(fixtures.scale(1, 2, [fixtures.node("a", 4, 3.9)]), {"related": {"podRequests": {"cpu": 0.1, "memory": 0}}})
	cluster_capacity_available.allow with input as tenths
}

test_fewer_pods_need_no_room if cluster_capacity_available.allow with input as fixtures.scale(3, 1, [])

test_pods_without_requests_still_need_a_place if {
	tight := object.union(fixtures.node("a", 2, 0), {"allocatable": {"cpu": 2, "memory": 1, "pods": 4}})
	free := object.union(fixtures.scale(1, 2, [tight]), {"related": {"podRequests": {"cpu": 0, "memory": 0}}})
	cluster_capacity_available.allow with input as free
	not cluster_capacity_available.allow with input as object.union(free, {"parameters": {"replicas": 3}})
}
