target "a" {
 args = { a = "\u00e9\t\"q\"$${x}%%{y}", b = "${"in${1+1}"}", c= "$x %y" }
}
