# differs: number specified for format verb
package differs.width

padded := sprintf("%5.2f|%-5s", [3.14159, "ab"])
