# differs: number specified for format verb
# there:  3.14|ab   
package differs.width

padded := sprintf("%5.2f|%-5s", [3.14159, "ab"])
