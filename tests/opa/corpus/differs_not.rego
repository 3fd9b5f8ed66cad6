# differs: line 7: `not` with a wildcard
# there: rego_unsafe_var_error
package differs.negation

# OPA refuses it as unsafe.
deny contains "no owner" if {
	not input.target.metadata.ownerReferences[_].kind == "X"
}
